"""Cached features: the same training as from the images, computed once, safe to interrupt and to reuse."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.config import AugmentConfig, Config
from cnn_jax.data.array_batches import evaluation_rows, training_rows
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import ArrayImages, Split
from cnn_jax.data.stream import TrainStream, evaluation_batches
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.io.files import cache_folder
from cnn_jax.training.features.feature_cache import FeatureCache, Features
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.setup import Job, set_up
from tests.training.helpers import (
    SMALL_FROZEN,
    assert_identical,
    final_state,
    metrics,
    train,
    train_until,
    with_,
)

CACHED = with_(
    replace(SMALL_FROZEN, data=replace(SMALL_FROZEN.data, augment=AugmentConfig(), steps_per_epoch=8)),
    data={"batch_size": 16, "split": (0.1, 0.05, 0.85)},
    train={"feature_cache": "on"},
)
"""A network with a frozen start and no augmentation, on few images."""

ON_DISK = with_(CACHED, train={"feature_memory_megabytes": 0})
UNCACHED = with_(CACHED, train={"feature_cache": "off"})


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run`, of CACHED, and `cache`, what it kept."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CNN_JAX_CACHE", str(folder / "cache"))
        train(CACHED, folder / "run")
    return folder


@pytest.fixture
def first(trained: Path, tmp_path: Path) -> Path:
    """The directory of that run; what it kept is in this test's cache."""
    shutil.copytree(trained / "cache", tmp_path / "cache")
    return trained / "run"


def _losses(workdir: Path) -> np.ndarray:
    return np.asarray([line["loss"] for line in metrics(workdir)])


def _assert_same_losses(cached: Path, plain: Path) -> None:
    np.testing.assert_allclose(_losses(cached), _losses(plain), rtol=1e-5, atol=1e-5)
    assert len(_losses(cached)) == 4


@pytest.mark.long
def test_the_losses_are_those_of_the_run_without_the_cache(first: Path, tmp_path: Path) -> None:
    train(UNCACHED, tmp_path / "plain")
    _assert_same_losses(first, tmp_path / "plain")


@pytest.mark.long
@pytest.mark.parametrize("until", ["head", pytest.param("bn4", marks=pytest.mark.slow)])
def test_the_losses_are_those_without_the_cache_from_other_layers_on(until: str, tmp_path: Path) -> None:
    for config, name in ((CACHED, "cached"), (UNCACHED, "plain")):
        train(with_(config, train={"freeze_until": until}), tmp_path / name)
    _assert_same_losses(tmp_path / "cached", tmp_path / "plain")


@pytest.mark.long
def test_result_and_console_say_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = train(CACHED, tmp_path / "run").result
    assert result["features"]["layer"] == "pool2"
    assert result["features"]["shape"] == (8, 8, 8)
    assert result["features"]["in_memory"] is True
    assert result["frozen_unchanged"] is True
    assert result["flops_per_step"]["step"] < 0.5 * result["flops_per_step"]["full_model"]
    assert "each image cached as the output of pool2 (8x8x8 float32)" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("disk", [1000, 0])
def test_features_of_a_later_phase_are_computed_on_the_way_where_they_can_be_kept(
    disk: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"epochs": 2, "head_epochs": 1, "feature_disk_megabytes": disk}

    def said(name: str) -> tuple[list[str], list[bool]]:
        """Of each line about features: the layer, and whether others were used."""
        train(with_(CACHED, train=settings, data={"steps_per_epoch": 2}), tmp_path / name)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("features")]
        layers = [line.partition("output of ")[2].partition(" ")[0] for line in lines]
        return layers, ["from those of pool2" in line or "all from an earlier run or phase" in line for line in lines]

    computed = ["flatten", "pool2"], [False, False]
    assert said("first") == ((["pool2", "flatten", "pool2"], [False, True, True]) if disk else computed)
    assert said("second") == ((["flatten", "pool2"], [True, True]) if disk else computed)  # nothing is read twice


def _kept() -> dict[Path, bytes]:
    """The files of features."""
    return {path: path.read_bytes() for path in (cache_folder() / "features").rglob("*") if path.is_file()}


def test_a_second_run_computes_nothing_and_ends_with_the_same_bits(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _kept()
    assert len(files) == 2
    capsys.readouterr()
    monkeypatch.setattr(FeatureCache, "_rows", lambda *_: pytest.fail("computed again"))
    train(CACHED, tmp_path / "second")
    assert ", all from an earlier run or phase" in capsys.readouterr().out
    assert_identical(final_state(CACHED, first), final_state(CACHED, tmp_path / "second"))
    assert _kept() == files


@pytest.mark.long
def test_a_run_with_another_learning_rate_and_length_computes_nothing(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _kept()
    monkeypatch.setattr(FeatureCache, "_rows", lambda *_: pytest.fail("computed again"))
    train(with_(CACHED, optimizer={"learning_rate": 0.1}, train={"epochs": 1}), tmp_path / "other")
    assert _kept() == files


@pytest.mark.long
def test_features_on_disk_are_those_in_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_by_one = with_(CACHED, data={"device_memory_share": 0.0})  # as from the disk, where each step is a call
    train(one_by_one, tmp_path / "memory")
    capsys.readouterr()
    train(ON_DISK, tmp_path / "disk")
    assert ", all from an earlier run or phase" in capsys.readouterr().out
    assert_identical(final_state(CACHED, tmp_path / "memory"), final_state(ON_DISK, tmp_path / "disk"))


@pytest.mark.long
def test_added_images_alone_are_computed_to_the_same_bits(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shares that grow keep most of the images that they had; the others come in batches of their own."""
    more = with_(CACHED, data={"split": (0.12, 0.05, 0.83)})
    capsys.readouterr()
    train(more, tmp_path / "more")
    (found,) = re.findall(r"ready in .* s, (\d+) of (\d+) from an earlier", capsys.readouterr().out)
    before, total = map(int, found)
    assert 0.5 * total < before < total
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "other"))
    train(more, tmp_path / "alone")
    assert_identical(final_state(more, tmp_path / "alone"), final_state(more, tmp_path / "more"))


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_a_later_freeze_point_goes_on_from_what_is_kept_where_that_is_exact(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    early, late = (with_(CACHED, train={"freeze_until": p, "feature_dtype": dtype}) for p in ("conv3", "conv4"))
    train(late, tmp_path / "alone")
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "other"))
    train(early, tmp_path / "early")
    capsys.readouterr()
    train(late, tmp_path / "late")
    assert (", from those of pool2" in capsys.readouterr().out) == (dtype == "float32")
    assert_identical(final_state(late, tmp_path / "alone"), final_state(late, tmp_path / "late"))


@pytest.mark.long
def test_bfloat16_takes_half_the_room_and_trains_alike(tmp_path: Path) -> None:
    half = with_(ON_DISK, train={"feature_dtype": "bfloat16"})
    full_size = train(ON_DISK, tmp_path / "float32").result["features"]["megabytes"]
    assert train(half, tmp_path / "bfloat16").result["features"]["megabytes"] == full_size / 2
    np.testing.assert_allclose(_losses(tmp_path / "bfloat16"), _losses(tmp_path / "float32"), rtol=0.05)
    assert (_losses(tmp_path / "bfloat16") != _losses(tmp_path / "float32")).any()


@pytest.mark.long
@pytest.mark.parametrize("config", [CACHED, ON_DISK], ids=["memory", "disk"])
def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_bit_exactly(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config, tmp_path / "whole")
    assert train_until(11, config, tmp_path / "stopped", monkeypatch).result["steps"] == 11
    train(config, tmp_path / "stopped")
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "stopped"))


# ---- which features belong together ----


def _cache(job: Job) -> FeatureCache:
    plan = job.phases[-1].features
    assert plan is not None
    return FeatureCache(plan, job.config, job.model, job.variables, job.mesh)


def _features(job: Job) -> Features | None:
    both = job.dataset.splits["train"], job.dataset.splits["validation"]
    return _cache(job).load(both, both, Reporter(), lambda: False)


def _key(config: Config) -> tuple[str, list[bytes]]:
    """The folder of the features, and the names of the training images in it."""
    job = set_up(config, None)
    cache, split = _cache(job), job.dataset.splits["train"]
    return cache._store(cache._plan.layers, None)._folder.name, [row.tobytes() for row in cache._hashes(split, None)]


def test_the_key_changes_with_all_that_the_features_depend_on_and_nothing_else() -> None:
    base = _key(CACHED)[0]
    assert _key(with_(CACHED, optimizer={"learning_rate": 0.1}, data={"batch_size": 32}))[0] == base
    assert _key(with_(CACHED, data={"split": (0.2, 0.05, 0.75)}))[0] == base
    different = [
        replace(CACHED, seed=1),  # other random weights
        with_(CACHED, model={"filters": (8, 8, 8, 16)}),
        with_(CACHED, model={"image_size": 64}),
        with_(CACHED, train={"freeze_until": "conv4"}),
        with_(CACHED, train={"feature_dtype": "bfloat16"}),
        with_(CACHED, train={"precision": "bfloat16"}),
        with_(CACHED, data={"eval_batch_size": 32}),  # other programs, and perhaps other last bits
    ]
    assert len({base, *(_key(config)[0] for config in different)}) == len(different) + 1


def test_images_are_known_by_their_content(image_folder: Path) -> None:
    config = with_(CACHED, data={"dataset": f"folder:{image_folder}"})
    key, before = _key(config)
    path = image_folder / "train" / "red" / "03.png"
    os.utime(path, (1, 1))
    assert _key(config) == (key, before)
    path.write_bytes((image_folder / "train" / "blue" / "00.png").read_bytes())
    changed = _key(config)[1]
    assert sum(a != b for a, b in zip(before, changed, strict=True)) == 1
    assert len(set(changed)) == len(set(before)) - 1


@pytest.mark.long
def test_a_damaged_file_is_computed_again(first: Path, tmp_path: Path) -> None:
    for path, content in _kept().items():
        path.write_bytes(content[:100] + bytes(100) + content[200:])
    train(CACHED, tmp_path / "second")
    assert_identical(final_state(CACHED, first), final_state(CACHED, tmp_path / "second"))


@pytest.mark.long
def test_an_interrupt_while_features_are_computed_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import signal

    rows = FeatureCache._rows

    def interrupted(self: FeatureCache, *arguments):
        for number, part in enumerate(rows(self, *arguments)):
            if number == 1:
                signal.raise_signal(signal.SIGTERM)
            yield part

    with monkeypatch.context() as patched:
        patched.setattr(FeatureCache, "_rows", interrupted)
        outcome = train(ON_DISK, tmp_path / "run")
    assert outcome.stopped_by == signal.SIGTERM
    assert outcome.result["steps"] == 0
    assert len(_kept()) == 1
    assert train(ON_DISK, tmp_path / "run").result["status"] == "completed"
    assert "64 of 269 from an earlier run" in capsys.readouterr().out


@pytest.mark.long
def test_a_folder_that_cannot_be_used_is_one_error_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "features").write_text("in the way")
    with pytest.raises(RunError, match=r"features cannot be used"):
        train(ON_DISK, tmp_path / "run")
    assert train(CACHED, tmp_path / "in_memory").result["status"] == "completed"
    assert "not kept for the next start: Not a directory" in capsys.readouterr().out


# ---- whether to keep any ----


def test_auto_keeps_features_only_where_that_changes_nothing_and_pays() -> None:
    auto = with_(CACHED, train={"feature_cache": "auto"}, data={"steps_per_epoch": None})
    augment = AugmentConfig(horizontal_flip=True)

    def reason(config: Config) -> str:
        phase = set_up(config, None).phases[-1]
        assert (phase.features is None) == bool(phase.without_features)
        return phase.without_features

    assert reason(auto) == ""
    assert "nothing is frozen" in reason(with_(auto, train={"freeze_until": "none"}))
    assert "nothing is frozen" in reason(with_(auto, train={"freeze_until": "conv1"}))
    assert "train.feature_views=k" in reason(with_(auto, data={"augment": augment}))
    assert reason(with_(auto, data={"augment": augment}, train={"feature_views": 1})) == ""
    brighter = AugmentConfig(brightness=(0.5, 1.5))
    assert "train.feature_views=k" in reason(with_(auto, data={"augment": brighter}))
    mixed = AugmentConfig(mixup=0.2)
    assert "data.augment.mixup" in reason(with_(auto, data={"augment": mixed}, train={"feature_views": 1}))
    assert "too seldom" in reason(with_(auto, train={"epochs": 1}))
    assert "too seldom" in reason(with_(auto, data={"augment": augment}, train={"feature_views": 3}))
    small = with_(auto, train={"feature_memory_megabytes": 0, "feature_disk_megabytes": 0})
    assert "more than train.feature_memory_megabytes" in reason(small)
    assert "off" in reason(with_(auto, train={"feature_cache": "off"}))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"freeze_until": "none"}}, "nothing is frozen"),
        ({"data": {"augment": AugmentConfig(rotation=5)}}, "train.feature_views=k"),
        ({"data": {"augment": AugmentConfig(cutmix=1.0)}}, "data.augment.cutmix"),
        ({"train": {"feature_memory_megabytes": 0, "feature_disk_megabytes": 0}}, "they need"),
    ],
)
def test_on_where_that_cannot_be_is_one_error(sections: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=f"train.feature_cache=on is not possible: .*{message}"):
        set_up(with_(CACHED, **sections), None)


# ---- the batches ----


def _split(count: int) -> Split:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return Split(tuple(map(str, range(count))), rng.integers(0, 3, count).astype(np.int32), ArrayImages(pixels))


@pytest.mark.parametrize("first_step", [0, 3, 7])
def test_rows_come_in_the_order_of_the_images(first_step: int) -> None:
    split = _split(21)
    assert isinstance(split.images, ArrayImages)
    images = TrainStream(split, Resize(6), 4, seed=5).batches(first_step)
    rows = training_rows([split.images.pixels], split.labels, 4, 5, first_step)
    for _, expected, given in zip(range(15), images, rows, strict=False):
        for key, value in expected.items():
            np.testing.assert_array_equal(given[key], value, err_msg=key)


@pytest.mark.parametrize(("count", "size"), [(21, 4), (20, 4), (3, 8)])
def test_evaluation_rows_are_the_evaluation_batches(count: int, size: int) -> None:
    split = _split(count)
    assert isinstance(split.images, ArrayImages)
    given = list(evaluation_rows(split.images.pixels, split.labels, size))
    expected = list(evaluation_batches(split, Resize(6), size))
    assert len(given) == len(expected)
    for batch, other in zip(given, expected, strict=True):
        for key, value in other.items():
            np.testing.assert_array_equal(batch[key], value, err_msg=key)


def test_views_are_augmented_differently_and_taken_in_turn(tmp_path: Path) -> None:
    config = with_(
        CACHED, data={"augment": AugmentConfig(rotation=30, horizontal_flip=True)}, train={"feature_views": 2}
    )
    job = set_up(config, None)
    splits = job.dataset.splits
    kept = _features(job)
    assert kept is not None
    first, second = kept.training
    assert len(first) == len(second) == len(splits["train"])
    assert (first != second).any(axis=(1, 2, 3)).mean() > 0.9
    again = _features(job)
    assert again is not None
    np.testing.assert_array_equal(again.training[1], second)
    steps = -(-len(first) // 16)
    batches = training_rows(kept.training, splits["train"].labels, 16, config.seed)
    for number in range(2 * steps):
        batch = next(batches)
        view = (first, second)[number // steps]
        np.testing.assert_array_equal(batch["image"], view[batch["index"]])


def test_features_are_what_the_layers_give(tmp_path: Path) -> None:
    job = set_up(CACHED, None)
    plan, splits = job.phases[-1].features, job.dataset.splits
    assert plan is not None
    kept = _features(job)
    assert kept is not None
    batch = next(evaluation_batches(splits["validation"], Resize(32), 8))
    expected = jax.jit(job.model.part(0, plan.layers).outputs)(job.variables, batch["image"])
    np.testing.assert_allclose(kept.validation[:8], expected, rtol=1e-4, atol=1e-5)
    logits = job.model.part(plan.layers).logits(job.variables, kept.validation[:8])
    np.testing.assert_allclose(logits, job.model.logits(job.variables, batch["image"]), rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_result_json_is_the_result(tmp_path: Path) -> None:
    result = train(CACHED, tmp_path / "run").result
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == json.loads(json.dumps(result))
