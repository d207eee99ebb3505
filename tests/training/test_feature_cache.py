"""Kept features: the same training as from the images, computed once, safe to interrupt and to reuse."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.cache import cache_folder
from cnn_jax.config import AugmentConfig, Config
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.rows import evaluation_rows, training_rows
from cnn_jax.data.sources import ArrayImages, Split
from cnn_jax.data.stream import TrainStream, evaluation_batches
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.training import feature_files
from cnn_jax.training.feature_cache import FeatureCache
from cnn_jax.training.logs import Reporter
from cnn_jax.training.setup import Job, set_up
from tests.training.helpers import (
    SMALL_FROZEN,
    assert_identical,
    final_state,
    metrics,
    stop_after,
    train,
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


def _losses(workdir: Path) -> np.ndarray:
    return np.asarray([line["loss"] for line in metrics(workdir)])


@pytest.mark.sample(1)
@pytest.mark.parametrize("until", ["conv3", "bn4", "head"])
def test_the_losses_are_those_of_the_run_without_the_cache(until: str, tmp_path: Path) -> None:
    for config, name in ((CACHED, "cached"), (UNCACHED, "plain")):
        train(with_(config, train={"freeze_until": until}), tmp_path / name)
    np.testing.assert_allclose(_losses(tmp_path / "cached"), _losses(tmp_path / "plain"), rtol=1e-5, atol=1e-5)
    assert len(_losses(tmp_path / "cached")) == 4


def test_result_and_console_say_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = train(CACHED, tmp_path / "run").result
    assert result["features"]["layer"] == "pool2"
    assert result["features"]["shape"] == (8, 8, 8)
    assert result["features"]["in_memory"] is True
    assert result["frozen_unchanged"] is True
    assert result["flops_per_step"]["step"] < 0.5 * result["flops_per_step"]["full_model"]
    assert "each image kept as the output of pool2 (8x8x8 float32)" in capsys.readouterr().out


@pytest.mark.long
def test_a_file_gives_the_bits_of_the_memory_and_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(CACHED, tmp_path / "memory")
    assert not list((cache_folder() / "features").glob("*"))
    train(ON_DISK, tmp_path / "disk")
    files = {path: path.read_bytes() for path in (cache_folder() / "features").iterdir()}
    assert len(files) == 2
    assert {path.suffix for path in files} == {".npy"}
    assert_identical(final_state(CACHED, tmp_path / "memory"), final_state(ON_DISK, tmp_path / "disk"))
    monkeypatch.setattr(FeatureCache, "_rows", lambda *_: pytest.fail("computed again"))
    train(ON_DISK, tmp_path / "again")
    assert_identical(final_state(ON_DISK, tmp_path / "disk"), final_state(ON_DISK, tmp_path / "again"))
    assert {path: path.read_bytes() for path in (cache_folder() / "features").iterdir()} == files


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
    with monkeypatch.context() as patched:
        stop_after(11, patched)
        assert train(config, tmp_path / "stopped").result["steps"] == 11
    train(config, tmp_path / "stopped")
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "stopped"))


# ---- which features belong together ----


def _cache(job: Job) -> FeatureCache:
    plan = job.phases[-1].features
    assert plan is not None
    return FeatureCache(plan, job.config, job.model, job.variables, job.mesh)


def _key(config: Config) -> str:
    job = set_up(config, None)
    return _cache(job)._key(job.dataset.splits["train"], None)


def test_the_key_changes_with_all_that_the_features_depend_on_and_nothing_else() -> None:
    base = _key(CACHED)
    assert _key(with_(CACHED, optimizer={"learning_rate": 0.1}, data={"batch_size": 32})) == base
    different = [
        replace(CACHED, seed=1),  # other random weights
        with_(CACHED, model={"filters": (8, 8, 8, 16)}),
        with_(CACHED, model={"image_size": 64}),
        with_(CACHED, train={"freeze_until": "conv4"}),
        with_(CACHED, train={"feature_dtype": "bfloat16"}),
        with_(CACHED, train={"precision": "bfloat16"}),
        with_(CACHED, data={"split": (0.2, 0.05, 0.75)}),
        with_(CACHED, data={"classes": tuple("9876543210")[:5]}),
    ]
    assert len({base, *map(_key, different)}) == len(different) + 1


def test_the_key_changes_with_a_file(image_folder: Path) -> None:
    config = with_(CACHED, data={"dataset": f"folder:{image_folder}"})
    before = _key(config)
    assert _key(config) == before
    path = image_folder / "train" / "red" / "03.png"
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert _key(config) != before


def test_a_cut_short_file_is_computed_again(tmp_path: Path) -> None:
    train(ON_DISK, tmp_path / "first")
    files = {path: path.read_bytes() for path in (cache_folder() / "features").iterdir()}
    for path, content in files.items():
        path.write_bytes(content[: len(content) // 2])
    train(ON_DISK, tmp_path / "second")
    assert {path: path.read_bytes() for path in (cache_folder() / "features").iterdir()} == files


@pytest.mark.long
def test_an_interrupt_while_features_are_computed_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    rows = FeatureCache._rows

    def interrupted(self: FeatureCache, *arguments):
        for part in rows(self, *arguments):
            signal.raise_signal(signal.SIGTERM)
            yield part

    with monkeypatch.context() as patched:
        patched.setattr(FeatureCache, "_rows", interrupted)
        outcome = train(ON_DISK, tmp_path / "run")
    assert outcome.stopped_by == signal.SIGTERM
    assert outcome.result["steps"] == 0
    assert not list((cache_folder() / "features").iterdir())
    assert train(ON_DISK, tmp_path / "run").result["status"] == "completed"


def test_what_a_killed_process_left_is_removed_and_old_features_make_room(tmp_path: Path) -> None:
    folder = cache_folder() / "features"
    folder.mkdir(parents=True)
    abandoned, fresh = folder / ".a.1.tmp", folder / ".b.2.tmp"
    for path in (abandoned, fresh):
        path.write_bytes(b"half")
    long_ago = time.time() - 2 * feature_files.ABANDONED_SECONDS
    os.utime(abandoned, (long_ago, long_ago))
    old, newer = folder / "old.npy", folder / "newer.npy"
    for age, path in ((200, old), (100, newer)):
        path.write_bytes(bytes(600 * 1024))
        os.utime(path, (time.time() - age,) * 2)
    feature_files.make_room(300 * 1024, 1)
    assert sorted(path.name for path in folder.iterdir()) == [".b.2.tmp", "newer.npy"]


def test_a_folder_that_cannot_be_used_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "features").write_text("in the way")
    with pytest.raises(RunError, match=r"features cannot be used"):
        train(ON_DISK, tmp_path / "run")


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
    kept = _cache(job).load(splits["train"], splits["validation"], Reporter(), lambda: False)
    assert kept is not None
    first, second = kept.training
    assert len(first) == len(second) == len(splits["train"])
    assert (first != second).any(axis=(1, 2, 3)).mean() > 0.9
    again = _cache(job).load(splits["train"], splits["validation"], Reporter(), lambda: False)
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
    kept = _cache(job).load(splits["train"], splits["validation"], Reporter(), lambda: False)
    assert kept is not None
    batch = next(evaluation_batches(splits["validation"], Resize(32), 8))
    expected = jax.jit(job.model.part(0, plan.layers).outputs)(job.variables, batch["image"])
    np.testing.assert_allclose(kept.validation[:8], expected, rtol=1e-4, atol=1e-5)
    logits = job.model.part(plan.layers).logits(job.variables, kept.validation[:8])
    np.testing.assert_allclose(logits, job.model.logits(job.variables, batch["image"]), rtol=1e-4, atol=1e-5)


def test_result_json_is_the_result(tmp_path: Path) -> None:
    result = train(CACHED, tmp_path / "run").result
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == json.loads(json.dumps(result))
