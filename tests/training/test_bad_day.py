"""Divergence, full disks, damaged checkpoints, early ends: nothing good is lost, and the message says what to do."""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.config import CheckpointConfig
from cnn_jax.config.serialization import to_json
from cnn_jax.errors import RunError, RunFailed, WeightsError
from cnn_jax.training import loop, trained_run
from cnn_jax.training.epochs import Epochs
from cnn_jax.training.run.progress import Progress
from cnn_jax.training.setup import set_up
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, metrics, train, with_


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- divergence ----


def _poisoned(key: str, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, np.ndarray]:
    """The message of a run whose step 8 reports NaN, and the indices of that step's images."""
    run_step = Epochs._step

    def poisoned(self, state, batch):
        after, report = run_step(self, state, batch)
        if int(after.step) == 8:
            report = {**report, key: jax.numpy.asarray(np.nan)}
            poisoned.indices = batch["index"]
        return after, report

    with monkeypatch.context() as patched:
        patched.setattr(Epochs, "_step", poisoned)
        with pytest.raises(RunFailed) as error:
            train(SMALL_CNN, workdir)
    return str(error.value), poisoned.indices


@pytest.mark.sample(1)
@pytest.mark.parametrize("key", ["loss", "gradient_norm"])
def test_a_loss_or_gradient_that_is_not_finite_stops_the_run_before_anything_is_overwritten(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, indices = _poisoned(key, tmp_path / "run", monkeypatch)
    ids = set_up(SMALL_CNN, tmp_path / "run" / "split.json").dataset.splits["train"].ids
    assert message.startswith("step 8 has a loss of")
    assert "nan" in message
    assert ids[indices[0]] in message
    assert ids[indices[7]] in message
    assert "8 more" in message
    assert "The newest checkpoint, of step 6, is good" in message
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["6"]


@pytest.mark.long
def test_after_a_loss_that_is_not_finite_a_run_goes_on_bit_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poisoned("loss", tmp_path / "run", monkeypatch)
    train(SMALL_CNN, tmp_path / "run")
    train(SMALL_CNN, tmp_path / "whole")
    assert_identical(final_state(SMALL_CNN, tmp_path / "run"), final_state(SMALL_CNN, tmp_path / "whole"))


@pytest.mark.long
def test_a_learning_rate_that_is_far_too_high_is_noticed(tmp_path: Path) -> None:
    config = with_(SMALL_CNN, optimizer={"name": "sgd", "learning_rate": 1e30, "clip_norm": None})
    with pytest.raises(RunFailed, match=r"There is no checkpoint yet; .*\n*.*--optimizer.learning_rate"):
        train(config, tmp_path / "run")


# ---- early stopping ----


@pytest.mark.long
def test_early_stopping_ends_after_the_epochs_without_a_better_one(tmp_path: Path) -> None:
    config = with_(
        SMALL_CNN,
        optimizer={"name": "sgd", "learning_rate": 1e-30, "clip_norm": None},
        train={"epochs": 9, "early_stopping_epochs": 2},
    )
    # nothing changes, so that of equal epochs the newest is the best: it never stops
    assert train(config, tmp_path / "equal").result["epochs"] == 9
    worse = with_(config, optimizer={"learning_rate": 0.3})
    result = train(worse, tmp_path / "worse").result
    assert result["status"] == "completed"
    if result["stopped_early"]:
        assert result["epochs"] == result["best"]["epoch"] + 2
    assert train(worse, tmp_path / "worse").result["epochs"] == result["epochs"]


def test_when_it_is_enough() -> None:
    job = set_up(with_(SMALL_CNN, train={"epochs": 9, "head_epochs": 3, "early_stopping_epochs": 2}), None)
    head, main = job.phases

    def enough(best: int, epoch: int, phase=main) -> bool:
        best_of_all = {"epoch": best, "accuracy": 0.5, "loss": 1.0}
        return loop.is_enough(job.config.train, phase, Progress(best=best_of_all), epoch)

    assert [enough(5, epoch) for epoch in (5, 6, 7, 8)] == [False, False, True, True]
    assert not enough(1, 3, head), "the head's epochs do not count"
    assert [enough(1, epoch) for epoch in (3, 4, 5)] == [False, False, True], "nor do those before the phase"


# ---- checkpoints ----


@pytest.mark.long
def test_checkpoints_by_steps_and_epochs(tmp_path: Path) -> None:
    config = replace(
        with_(SMALL_CNN, train={"epochs": 2}), checkpoint=CheckpointConfig(every_epochs=2, every_steps=2, keep=9)
    )
    train(config, tmp_path / "run")
    steps = sorted(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir())
    best = json.loads((tmp_path / "run" / "result.json").read_text())["best"]["epoch"]
    assert set(steps) - {6} == {2, 4, 8, 10, 12}
    assert 6 * best in steps


@pytest.mark.long
def test_checkpoints_by_minutes(tmp_path: Path) -> None:
    config = replace(with_(SMALL_CNN, train={"epochs": 1}), checkpoint=CheckpointConfig(every_minutes=1e-9, keep=99))
    train(config, tmp_path / "run")
    assert sorted(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()) == [1, 2, 3, 4, 5, 6]


def _damage(checkpoint: Path) -> None:
    for path in checkpoint.rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.long
@pytest.mark.usefixtures("leftovers_collected")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
)  # a closed loop is told
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = with_(SMALL_CNN, train={"epochs": 2})
    train(SMALL_CNN, tmp_path / "whole")
    train(SMALL_CNN, tmp_path / "run")
    _damage(tmp_path / "run" / "checkpoints" / "18")
    capsys.readouterr()
    assert train(SMALL_CNN, tmp_path / "run").result["status"] == "completed"
    printed = capsys.readouterr().out
    assert "damaged    the checkpoint of step 18" in printed
    assert "resume     at step 12 of 18" in printed
    assert [path.name.partition("-")[0] for path in (tmp_path / "run" / "damaged").iterdir()] == ["18"]
    assert_identical(final_state(SMALL_CNN, tmp_path / "whole"), final_state(SMALL_CNN, tmp_path / "run"))
    assert longer != SMALL_CNN


@pytest.mark.long
@pytest.mark.usefixtures("leftovers_collected")
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
)  # a closed loop is told
def test_where_every_checkpoint_is_damaged_nothing_is_thrown_away(tmp_path: Path) -> None:
    train(SMALL_CNN, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        _damage(path)
    before = _contents(tmp_path / "run" / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint can be read"):
        train(SMALL_CNN, tmp_path / "run")
    after = _contents(tmp_path / "run" / "checkpoints") | _contents(tmp_path / "run" / "damaged")
    assert sorted(after.values()) == sorted(before.values())


@pytest.mark.long
def test_a_disk_that_fills_up_keeps_what_was_saved_and_says_so(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: the write fails in the same place."""
    config = with_(SMALL_CNN, model={"filters": (4, 64)}, train={"epochs": 2})
    train(config, tmp_path / "whole")
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from cnn_jax.errors import RunFailed\n"
        "from cnn_jax.config.serialization import from_json\n"
        "from cnn_jax.training.epochs import Epochs\n"
        "from cnn_jax.training.run.logs import Reporter\n"
        "from cnn_jax.training.loop import fit\n"
        "run_step = Epochs._step\n"
        "def stepping(self, state, batch):\n"
        "    if int(state.step) == 8:\n"
        "        self._saver._checkpoints.wait()\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "    return run_step(self, state, batch)\n"
        "Epochs._step = stepping\n"
        "try: fit(from_json(Path(sys.argv[1]).read_text(), 'c'), Path(sys.argv[2]), Reporter())\n"
        "except RunFailed as error: print('FAILED', error)\n"
    )
    (tmp_path / "config.json").write_text(to_json(config))
    command = [sys.executable, "-c", program, str(tmp_path / "config.json"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "FAILED" in done.stdout, done.stdout + done.stderr
    assert "The newest good one is of step 6" in done.stdout
    assert "Make room" in done.stdout
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit()] == ["6"]
    train(config, tmp_path / "run")
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "run"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4000


# ---- weights of another run ----


@pytest.mark.long
def test_a_run_goes_on_from_another_with_a_new_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(SMALL_CNN, tmp_path / "first")
    first = trained_run.load(tmp_path / "first")
    other = with_(
        SMALL_CNN, model={"weights": str(tmp_path / "first")}, data={"classes": ("3", "5", "8")}, train={"epochs": 1}
    )
    job = set_up(other, None)
    for layer, leaves in job.variables["params"].items():
        for leaf, value in leaves.items():
            if layer != "head":
                np.testing.assert_array_equal(value, first.variables["params"][layer][leaf])
    assert job.variables["params"]["head"]["bias"].shape == (3,)
    capsys.readouterr()
    train(other, tmp_path / "second")
    printed = capsys.readouterr().out
    assert "4 arrays loaded" in printed
    assert "new, as initialised: params/head/bias, params/head/kernel" in printed
    assert "left out, replaced by the new ones: params/head/bias, params/head/kernel" in printed
    assert json.loads((tmp_path / "second" / "weights.json").read_text())["loaded"] == [
        f"params/conv{i}/{leaf}" for i in (1, 2) for leaf in ("bias", "kernel")
    ]
    assert len(metrics(tmp_path / "second")) == 2


@pytest.mark.long
def test_a_run_with_the_same_classes_gives_its_head_too(tmp_path: Path) -> None:
    train(SMALL_CNN, tmp_path / "first")
    job = set_up(with_(SMALL_CNN, model={"weights": str(tmp_path / "first")}), None)
    jax.tree.map(np.testing.assert_array_equal, job.variables, trained_run.load(tmp_path / "first").variables)


@pytest.mark.long
def test_a_run_of_another_network_is_refused(tmp_path: Path) -> None:
    train(with_(SMALL_CNN, train={"epochs": 1}), tmp_path / "first")
    with pytest.raises(WeightsError, match="does not fit the model; nothing was loaded"):
        set_up(with_(SMALL_CNN, model={"weights": str(tmp_path / "first"), "filters": (4, 9)}), None)
