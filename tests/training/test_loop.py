"""A run from start to end: what it writes, how it stops, how it goes on."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.config import AugmentConfig, Config
from cnn_jax.config.serialization import from_json
from cnn_jax.data.sources import FileImages, Split
from cnn_jax.errors import ConfigError, DataError, RunError, WeightsError
from cnn_jax.training import loaders, shared
from cnn_jax.training.run import run_directory
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.progress import Progress
from cnn_jax.training.saving import Saver
from cnn_jax.training.setup import set_up
from tests.conftest import make_unlistable, write_image
from tests.training.helpers import (
    SMALL_CNN,
    SMALL_FROZEN,
    assert_identical,
    command,
    final_state,
    metrics,
    newest_checkpoint,
    train,
    train_until,
    with_,
)

MIXING = with_(SMALL_CNN, data={"augment": replace(SMALL_CNN.data.augment, mixup=0.2, cutmix=1.0)})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run of SMALL_CNN."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    train(with_(SMALL_CNN, train={"tensorboard": True}), workdir)
    return workdir


def test_run_directory_holds_what_other_programs_read(finished: Path) -> None:
    assert from_json((finished / "config.json").read_text(), "") == with_(SMALL_CNN, train={"tensorboard": True})
    assert json.loads((finished / "classes.json").read_text()) == [str(i) for i in range(10)]
    splits = json.loads((finished / "split.json").read_text())["splits"]
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 1438, "validation": 359}
    assert list((finished / "tensorboard").glob("events.out.tfevents.*"))
    assert not list(finished.glob(".*.tmp"))


def test_tensorboard_shows_the_curves_some_images_and_the_confusion_matrix(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"), {"tensors": 0, "images": 0})
    events.Reload()
    shown = {tag: [event.step for event in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    assert shown["train/loss"] == shown["validation/accuracy"] == [6, 12, 18]
    assert shown["train/images"] == [0]
    assert shown["validation/confusion_matrix"] == [18]
    pictures = events.Tensors("validation/confusion_matrix")[0].tensor_proto.string_val
    assert pictures[2].startswith(b"\x89PNG")  # after width and height


def test_result_says_how_the_run_ended(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    validation = [line for line in lines if line["split"] == "validation"]
    best = max(validation, key=lambda line: (line["accuracy"], -line["loss"]))
    assert result["status"] == "completed"
    assert (result["epochs"], result["steps"]) == (3, 18)
    assert result["best"] == {key: best[key] for key in ("epoch", "accuracy", "loss")}
    assert result["last"] == {key: validation[-1][key] for key in ("accuracy", "loss")}
    assert result["parameters"] == {"total": 40 + 296 + 330, "trainable": 40 + 296 + 330, "frozen": 0} | {
        "total": result["parameters"]["total"],
        "trainable": result["parameters"]["total"],
    }
    assert result["frozen_unchanged"] is True
    assert result["wall_seconds"] > 0
    assert result["images_per_second"] > 0


def test_metrics_have_a_line_for_each_split_of_each_epoch(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"], line["split"]) for line in lines] == [
        (6 * epoch, epoch, split) for epoch in (1, 2, 3) for split in ("train", "validation")
    ]
    assert all({"loss", "accuracy", "learning_rate", "images_per_second"} <= line.keys() for line in lines[::2])


def test_training_learns(tmp_path: Path) -> None:
    gently = AugmentConfig(rotation=10, width_shift=0.1)
    config = with_(SMALL_CNN, data={"steps_per_epoch": None, "augment": gently}, train={"epochs": 2})
    assert train(config, tmp_path / "run").result["best"]["accuracy"] > 0.7


@pytest.mark.long
def test_two_runs_are_bit_identical_and_another_seed_is_not(finished: Path, tmp_path: Path) -> None:
    train(SMALL_CNN, tmp_path / "same")
    assert_identical(final_state(SMALL_CNN, finished), final_state(SMALL_CNN, tmp_path / "same"))
    other = replace(SMALL_CNN, seed=1)
    train(other, tmp_path / "other")
    first, second = final_state(SMALL_CNN, finished), final_state(other, tmp_path / "other")
    assert any((first[path] != second[path]).any() for path in first if "kernel" in path)


def test_starting_a_finished_run_again_changes_nothing(finished: Path) -> None:
    before = {path: path.read_bytes() for path in (finished / "checkpoints").rglob("*") if path.is_file()}
    logged = (finished / "metrics.jsonl").read_text()
    result = json.loads((finished / "result.json").read_text())
    outcome = train(with_(SMALL_CNN, train={"tensorboard": True}), finished)
    assert outcome.result.keys() == result.keys()
    timed = {"wall_seconds", "seconds", "images_per_second"}
    assert all(outcome.result[key] == result[key] for key in result.keys() - timed)
    assert (finished / "metrics.jsonl").read_text() == logged
    assert {path: path.read_bytes() for path in (finished / "checkpoints").rglob("*") if path.is_file()} == before


@pytest.mark.long
def test_images_kept_in_memory_change_nothing(image_folder: Path, tmp_path: Path) -> None:
    config = with_(SMALL_CNN, data={"dataset": f"folder:{image_folder}"})
    decoding = with_(config, data={"memory_megabytes": 0})
    train(config, tmp_path / "kept")
    train(decoding, tmp_path / "decoded")
    assert_identical(final_state(config, tmp_path / "kept"), final_state(decoding, tmp_path / "decoded"))


def test_images_that_are_cropped_are_not_kept_resized(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    augment = AugmentConfig(crop_area=(0.1, 1.0))
    job = set_up(with_(SMALL_CNN, data={"dataset": f"folder:{image_folder}", "augment": augment}), None)
    kept: list[Split] = []
    monkeypatch.setattr(shared, "in_memory", lambda split, *rest: kept.append(split) or split)
    assert loaders.make_loader(job, job.phases[0], job.initial_state(), "host", Reporter(), lambda: False) is not None
    assert [split.ids for split in kept] == [job.dataset.splits["validation"].ids]


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("config", "last_step"),
    [(SMALL_CNN, 2), (SMALL_CNN, 6), pytest.param(MIXING, 9, marks=pytest.mark.slow), (SMALL_FROZEN, 9)],
)
def test_a_run_stopped_by_a_signal_goes_on_bit_exactly(
    config: Config, last_step: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finished if config is SMALL_CNN else tmp_path / "whole"
    if config is not SMALL_CNN:
        train(config, whole)
    outcome = train_until(last_step, config, tmp_path / "stopped", monkeypatch)
    assert outcome.stopped_by == signal.SIGTERM
    assert outcome.result["status"] == "interrupted"
    assert outcome.result["steps"] == last_step
    assert train(config, tmp_path / "stopped").result["status"] == "completed"
    assert_identical(final_state(config, whole), final_state(config, tmp_path / "stopped"))
    assert metrics(whole) == metrics(tmp_path / "stopped")


def test_an_interrupt_after_an_epoch_has_asked_for_one_is_saved_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when the epoch has no more reason to save: it is neither the best, nor due, nor the last."""
    monkeypatch.setattr(Progress, "is_best", lambda *_: False)
    monkeypatch.setattr(Saver, "due_after", lambda *_: bool(signal.raise_signal(signal.SIGTERM)))
    outcome = train(SMALL_CNN, tmp_path / "run")
    assert (outcome.stopped_by, outcome.result["steps"]) == (signal.SIGTERM, 6)
    assert newest_checkpoint(tmp_path / "run") == 6


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_bit_identical(tmp_path: Path) -> None:
    config = with_(SMALL_FROZEN, train={"epochs": 18})  # tests/faults has more kills, and other configurations
    train(config, tmp_path / "whole")
    workdir = tmp_path / "killed"
    start = command(config, workdir)
    delays = random.Random(0)
    kills = 0
    while kills < 2:
        saved_before = newest_checkpoint(workdir)
        process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while newest_checkpoint(workdir) <= saved_before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(delays.uniform(0, 0.25))
        process.kill()
        if process.wait() == -signal.SIGKILL:
            kills += 1
        else:  # it was at its end before this process noticed
            assert process.returncode == 0
            shutil.rmtree(workdir)
            kills = 0
    done = subprocess.run(start, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resume" in done.stdout
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, workdir))
    assert [line["epoch"] for line in metrics(workdir)] == [epoch for epoch in range(1, 19) for _ in range(2)]


def _line_count(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_process_saves_and_says_so_with_its_exit_code(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    workdir = tmp_path / "stopped"
    start = command(with_(SMALL_CNN, train={"epochs": 100_000}), workdir)
    process = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while _line_count(workdir) < 2 and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, number)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == code, stderr
    assert "the same command goes on from there" in stdout
    assert "Traceback" not in stderr
    result = json.loads((workdir / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert (workdir / "checkpoints" / str(result["steps"])).is_dir()


def test_a_run_directory_of_another_configuration_is_refused_with_the_difference(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"optimizer\.learning_rate: 0\.003 -> 0\.1"):
        train(with_(SMALL_CNN, train={"tensorboard": True}, optimizer={"learning_rate": 0.1}), finished)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_unlistable(monkeypatch, finished / "checkpoints", PermissionError(13, "Permission denied"))
    with pytest.raises(RunError, match=r"--workdir=.* cannot be read: checkpoints: Permission denied"):
        run_directory.check(finished, with_(SMALL_CNN, optimizer={"learning_rate": 0.1}))


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="is not a run directory"):
        train(SMALL_CNN, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.long
def test_a_run_that_never_saved_may_begin_anew_with_other_settings(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = image_folder / "train" / "red" / "zz.jpg"
    bad.write_text("not an image")
    config = with_(SMALL_CNN, data={"dataset": f"folder:{image_folder}"}, train={"epochs": 1})
    with pytest.raises(DataError, match=r"train/red/zz\.jpg cannot be read .*\n.*--data\.unreadable=skip"):
        train(config, tmp_path / "run")
    skipping = with_(config, data={"unreadable": "skip"})
    assert train(skipping, tmp_path / "run").result["status"] == "completed"
    assert json.loads((tmp_path / "run" / "unreadable.json").read_text())["train"] == ["train/red/zz.jpg"]

    def decode(*_: object) -> None:
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(FileImages, "load", decode)
    written = (tmp_path / "run" / "classes.json").stat().st_mtime_ns
    assert train(skipping, tmp_path / "run").result["status"] == "completed"
    assert (tmp_path / "run" / "classes.json").stat().st_mtime_ns == written


@pytest.mark.long
def test_images_added_later_do_not_join_a_run_and_images_removed_stop_it(image_folder: Path, tmp_path: Path) -> None:
    config = with_(SMALL_CNN, data={"dataset": f"folder:{image_folder}"}, train={"epochs": 1})
    train(config, tmp_path / "run")
    write_image(image_folder / "train" / "red" / "new.png", np.zeros((9, 9, 3), np.uint8))
    assert len(set_up(config, tmp_path / "run" / "split.json").dataset.splits["train"]) == 24
    (image_folder / "train" / "blue" / "03.png").unlink()
    with pytest.raises(DataError, match=r"train/blue/03\.png"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"model": {"name": "mobilenet", "image_size": 32, "alpha": 0.3, "weights": "imagenet"}}, ConfigError, "0.25"),
        ({"model": {"weights": "imagenet"}}, ConfigError, "another model.name: mobilenet"),
        ({"model": {"weights": "nowhere.h5"}}, WeightsError, "nowhere.h5"),
        ({"train": {"freeze_until": "conv_2"}}, ConfigError, "near names: conv2"),
        (
            {"data": {"split": (1.0, 0.0, 0.0)}, "train": {"early_stopping_epochs": 3}},
            ConfigError,
            r"train\.early_stopping_epochs=3 goes by validation images, and there are none",
        ),
        (
            {"data": {"split": (1.0, 0.0, 0.0)}, "optimizer": {"schedule": "plateau"}},
            ConfigError,
            r"optimizer\.schedule=plateau goes by validation images, and there are none",
        ),
        ({"data": {"dataset": "flowers"}}, ConfigError, "folder:DIR"),
    ],
)
def test_wrong_settings_name_the_fix_and_create_nothing(
    sections: dict, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        train(with_(SMALL_CNN, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_interrupts_leave_the_handlers_as_they_were(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(with_(SMALL_CNN, train={"epochs": 1}), tmp_path / "run")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert threading.current_thread() is threading.main_thread()


def test_versions_and_devices_are_known() -> None:
    assert jax.device_count() >= 1
