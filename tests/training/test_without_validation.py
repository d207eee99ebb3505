"""Training on all images, once the settings are known: no epoch is the best, and the last is kept."""

import json
import shutil
from pathlib import Path

import pytest

from cnn_jax import evaluate, sweep
from cnn_jax.config import AugmentConfig, Config
from cnn_jax.errors import ConfigError
from cnn_jax.training import trained_run
from tests.report.reading import read_page
from tests.training.helpers import (
    SMALL_CNN,
    SMALL_FROZEN,
    assert_identical,
    final_state,
    flags,
    metrics,
    train,
    train_until,
    with_,
)

ALL = with_(SMALL_CNN, data={"split": (1.0, 0.0, 0.0)})
KEPT = with_(SMALL_FROZEN, data={"augment": AugmentConfig(), "batch_size": 8}, train={"feature_cache": "on"})
ON_DISK = with_(KEPT, train={"feature_memory_megabytes": 0})
SOLVED = with_(
    KEPT,
    model={"dropout": 0.0},
    train={"epochs": 3, "freeze_until": "conv3", "head_epochs": 1},
    optimizer={"head_name": "lbfgs", "clip_norm": None},
)


def command(config: Config, workdir: Path) -> int:
    from cnn_jax import train as trains

    return trains.main(flags(config, workdir))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on all digits, with its report."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    assert command(ALL, workdir) == 0
    return workdir


@pytest.mark.long
def test_the_last_epoch_is_kept_and_none_is_the_best(whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    assert (result["status"], result["epochs"]) == ("completed", 3)
    assert (result["best"], result["last"]) == (None, None)
    assert [(line["epoch"], line["split"]) for line in metrics(whole)] == [(1, "train"), (2, "train"), (3, "train")]
    splits = json.loads((whole / "split.json").read_text())["splits"]
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 1797}
    assert trained_run.load(whole).step == result["steps"] == 18


@pytest.mark.long
@pytest.mark.parametrize(
    "config",
    [SMALL_CNN, *(pytest.param(config, marks=pytest.mark.slow) for config in (KEPT, ON_DISK, SOLVED))],
    ids=["images", "cached features", "features on disk", "solved first"],
)
def test_training_is_what_it_is_with_a_validation(config: Config, image_folder: Path, tmp_path: Path) -> None:
    config = with_(config, data={"dataset": f"folder:{image_folder}", "split": (1.0, 0.0, 0.0)})
    train(config, tmp_path / "validated")
    validated = final_state(config, tmp_path / "validated")
    shutil.rmtree(image_folder / "validation")
    assert train(config, tmp_path / "run").validation is None
    assert_identical(final_state(config, tmp_path / "run"), validated)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "validated", "train")


@pytest.mark.long
@pytest.mark.parametrize("steps", [9, 12])
def test_a_run_that_is_stopped_goes_on_bit_exactly(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    assert train_until(steps, ALL, tmp_path / "run", monkeypatch).result["status"] == "interrupted"
    assert train(ALL, tmp_path / "run").result["status"] == "completed"
    assert_identical(final_state(ALL, tmp_path / "run"), final_state(ALL, whole))
    assert metrics(tmp_path / "run") == metrics(whole)


@pytest.mark.long
def test_the_console_says_it_and_what_can_be_done_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(with_(ALL, train={"epochs": 1}), tmp_path / "run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "           no validation images: no best epoch can be chosen, the last is kept" in lines
    assert "kept       the last epoch, 1: no validation images, so none is known to be better" in lines
    (row,) = [line.split() for line in lines if line.startswith("1/1 ")]
    assert row[3:5] == ["-", "-"]
    assert lines[-1] == f"next       python -m cnn_jax.predict PHOTOS --checkpoint={tmp_path / 'run'}"


@pytest.mark.long
def test_the_report_has_the_curves_of_training_and_nothing_measured(whole: Path) -> None:
    page = read_page(whole / "report.html")
    assert "no validation images: no epoch is known to be the best" in page.text
    assert [section.attributes["id"] for section in page.all("section")] == ["curves", "augmentation", "network", "run"]
    assert [link.attributes["href"] for link in page.one("nav").all("a")] == [
        f"#{name}" for name in ("curves", "augmentation", "network", "run")
    ]
    heads = [cell.text for cell in page.one("table", id="epochs").one("thead").all("th")]
    assert heads == ["epoch", "training loss", "training accuracy", "learning rate", ""]
    assert len(page.one("table", id="epochs").one("tbody").all("tr")) == 3
    assert len(page.one("section", id="augmentation").all("img")) > 0
    assert not page.all("polyline", class_="validation")
    assert "validation–" in "".join(page.one("section", id="run").text.split())
    assert not list(whole.glob("evaluation-*"))


@pytest.mark.long
def test_images_of_training_are_measured_only_by_name(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trained on all of its images.*--data\.dataset.*--split=train"):
        evaluate.main([f"--checkpoint={whole}"])
    output = tmp_path / "train.json"
    assert evaluate.main([f"--checkpoint={whole}", "--split=train", f"--output={output}"]) == 0
    assert json.loads(output.read_text())["n"] == 1797
    assert "training loss" in read_page(output.with_suffix(".html")).one("section", id="curves").text


@pytest.mark.long
def test_a_test_split_is_what_is_measured_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = tmp_path / "run"
    assert command(with_(ALL, data={"split": (0.9, 0.0, 0.1)}, train={"epochs": 1}), workdir) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"next       python -m cnn_jax.evaluate --checkpoint={workdir}"
    assert evaluate.main([f"--checkpoint={workdir}", "--report=False"]) == 0
    assert json.loads((workdir / "evaluation-test.json").read_text())["split"] == "test"


def test_a_sweep_needs_a_validation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a sweep goes by .* --data\.split 0\.8 0\.2 0$"):
        sweep.main([*flags(ALL, tmp_path / "sweep"), "--seeds", "0", "1"])
    assert not (tmp_path / "sweep").exists()
