"""Training from Python, as in a notebook."""

import json
import os
import signal
from pathlib import Path

import pytest

import cnn_jax
from cnn_jax.config.serialization import to_json
from tests.training import helpers

PLAIN = helpers.with_(helpers.SMALL_CNN, train={"epochs": 2})


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `fit` sets for the process ends with the test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_fit_trains_reports_and_returns_what_result_json_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    result = cnn_jax.fit(PLAIN, run)
    assert result == json.loads((run / "result.json").read_text())
    assert (result["status"], result["epochs"]) == ("completed", 2)
    assert (run / "report.html").is_file()
    printed = capsys.readouterr().out
    assert f"\nbest       epoch {result['best']['epoch']}: " in printed
    assert f"\nreport     {run / 'report.html'}" in printed
    (row,) = cnn_jax.runs(str(tmp_path / "*"))
    assert (row["run"], row["status"], row["optimizer.learning_rate"]) == (str(run), "completed", 3e-3)
    assert {name: row[name] for name in ("epoch", "accuracy", "loss")} == result["best"]
    assert row["validation.low"] < row["validation.accuracy"] < row["validation.high"]
    assert row["trainable_parameters"] == result["parameters"]["trainable"]
    reference = helpers.train(PLAIN, tmp_path / "reference").result
    assert (result["best"], result["last"]) == (reference["best"], reference["last"])


@pytest.mark.long
def test_fit_again_goes_on_and_can_leave_the_report_out(tmp_path: Path) -> None:
    first = cnn_jax.fit(PLAIN, str(tmp_path / "run"), report=False)
    assert not (tmp_path / "run" / "report.html").exists()
    assert cnn_jax.fit(PLAIN, str(tmp_path / "run"), report=False)["best"] == first["best"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 2  # nothing was trained twice


def test_an_interrupt_stops_the_program_after_the_state_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    helpers.stop_after(4, monkeypatch, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        cnn_jax.fit(PLAIN, run)
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    assert helpers.newest_checkpoint(run) in (3, 4)


def test_a_relative_folder_of_images_is_found_from_anywhere_later(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(image_folder.parent)
    config = helpers.with_(PLAIN, data={"dataset": f"folder:{image_folder.name}", "steps_per_epoch": 1})
    cnn_jax.fit(config, tmp_path / "run", report=False)
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["data"]["dataset"] == f"folder:{image_folder}"


def test_runs_that_are_not_done_or_cannot_be_read_are_rows_that_say_so(tmp_path: Path) -> None:
    for name in ("begun", "damaged", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "begun" / "config.json").write_text(to_json(PLAIN))
    (tmp_path / "damaged" / "config.json").write_text("{")
    (tmp_path / "file").touch()
    begun, damaged = cnn_jax.runs(str(tmp_path / "*"))
    assert (begun["status"], begun["train.epochs"]) == ("open", 2)
    assert damaged["status"].startswith("cannot be read: ")
