"""Clocks that jump: no result depends on what time it is."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_jax.config import Config
from cnn_jax.io.files import cache_folder
from cnn_jax.training.epochs import Epochs
from cnn_jax.training.run.checkpoints import Checkpoints
from tests.faults.commands import attempt, run, train
from tests.training.helpers import SMALL_CNN, SMALL_FROZEN, assert_identical, final_state, flags, metrics, with_

YEAR = 365 * 24 * 3600.0
ON_DISK = with_(
    SMALL_FROZEN,
    data={"split": (0.1, 0.05, 0.85)},
    train={"feature_cache": "on", "feature_views": 2, "feature_memory_megabytes": 0},
)


@pytest.mark.long
@pytest.mark.parametrize(("to", "years"), [pytest.param("forwards", 10, marks=pytest.mark.slow), ("back", -10)])
@pytest.mark.parametrize(
    "config", [SMALL_CNN, pytest.param(ON_DISK, marks=pytest.mark.slow)], ids=["images", "features"]
)
def test_a_clock_that_jumps_between_steps_changes_nothing(
    config: Config, to: str, years: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    """As when a machine that began with a wrong clock hears of the right time."""
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    assert train(config, tmp_path / "whole") == 0
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "other cache"))
    ahead = _settable_clock(monkeypatch)
    advance = Epochs._advance

    def advancing(self: Epochs, state, step: int, most: int):
        if step == 7:
            self._saver._checkpoints.wait()
            ahead[0] = years * YEAR
        return advance(self, state, step, min(most, 7 - step) if step < 7 else most)

    monkeypatch.setattr(Epochs, "_advance", advancing)
    assert train(config, tmp_path / "run") == 0
    assert ahead[0]
    assert run("evaluate", f"--checkpoint={tmp_path / 'run'}") == 0
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "run"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "run")
    ended(f"clock that jumps {to} by ten years", "finished", "between steps")


@pytest.mark.long
@pytest.mark.usefixtures("leftovers_collected")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what Orbax leaves of a failed save
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_clock_that_jumps_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    """Orbax measures its patience by this clock: a write may seem to take ten years, and is given up."""
    assert train(SMALL_CNN, tmp_path / "whole") == 0
    with monkeypatch.context() as patched:
        ahead = _settable_clock(patched)
        save = Checkpoints.save

        def saving(self: Checkpoints, step: int, *arguments) -> None:
            save(self, step, *arguments)
            if step == 12:
                ahead[0] = 10 * YEAR

        patched.setattr(Checkpoints, "save", saving)
        code, message = attempt("train", *flags(SMALL_CNN, tmp_path / "run"), "--report=False")
    assert code == 0 or "a checkpoint could not be written" in message
    assert train(SMALL_CNN, tmp_path / "run") == 0
    assert_identical(final_state(SMALL_CNN, tmp_path / "whole"), final_state(SMALL_CNN, tmp_path / "run"))
    ended("clock that jumps forwards by ten years", "one clear error" if code else "finished", "while saving")


def _settable_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many seconds the wall clock of this process is ahead, to be set."""
    clock, nanoseconds, ahead = time.time, time.time_ns, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + ahead[0])
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(ahead[0]) * 10**9)
    return ahead


@pytest.mark.long
def test_files_from_the_future_and_from_1970(tmp_path: Path, ended: Callable[..., None]) -> None:
    """Of a machine whose clock was wrong, or an archive that was unpacked without its times."""
    config = with_(ON_DISK, train={"epochs": 1})
    assert train(config, tmp_path / "run") == 0
    longer = with_(config, train={"epochs": 2})
    for number, root in enumerate([tmp_path / "run", cache_folder() / "features"]):
        for path in root.rglob("*"):
            os.utime(path, (0, 0) if number else (time.time() + 10 * YEAR,) * 2)
    assert train(config, tmp_path / "run") == 0
    assert train(longer, tmp_path / "longer") == 0
    ended("files dated 1970 or ten years ahead", "finished", "run directory and cache")


@pytest.mark.long
def test_features_that_vanish_while_they_are_written_are_an_error_and_no_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    """Another process whose clock is hours ahead takes them for abandoned, and removes them."""
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    from cnn_jax.io import store

    write = store.Adding._write

    def vanishing(self):
        write(self)
        for path in (tmp_path / "cache/features").glob("*/*"):
            path.unlink()

    with monkeypatch.context() as patched:
        patched.setattr(store.Adding, "_write", vanishing)
        from cnn_jax.errors import RunError

        with pytest.raises(RunError, match="lost features while they were written: start the same command again"):
            train(ON_DISK, tmp_path / "run")
    assert train(ON_DISK, tmp_path / "run") == 0
    ended("feature file removed while it is written", "one clear error")
