"""Every second of a run has a name."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnn_jax.runtime import clock
from cnn_jax.runtime.clock import OTHER, Clock

SHARE = 0.97
"""Of the wall time, that the parts of a run have to make up at least."""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes as the test says."""
    time_ = [100.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: time_[0])
    return time_


def test_the_time_of_an_inner_part_is_not_the_outer_ones(now: list[float]) -> None:
    found = Clock(98.0)
    found.so_far("imports")
    with found.part("training"):
        now[0] += 3
        with found.part("checkpoints"):
            now[0] += 1
        now[0] += 4
    now[0] += 5
    with found.part("checkpoints"):
        now[0] += 0.01
    assert found.seconds() == {"imports": 2.0, "training": 7.0, "checkpoints": 1.01, OTHER: 5.0}
    assert found.wall() == pytest.approx(15.01)
    assert str(found) == "imports 2.0, training 7.0, checkpoints 1.0, other 5.0"


def test_a_part_that_an_error_ends_is_counted(now: list[float]) -> None:
    found = Clock()
    with contextlib.suppress(KeyError), found.part("data"):
        now[0] += 2
        raise KeyError
    now[0] += 1
    assert found.seconds() == {"data": 2.0, OTHER: 1.0}


@pytest.mark.long
def test_the_parts_of_a_run_are_its_wall_time(tmp_path: Path) -> None:
    """A process of its own, from its start to its end, as the clock on the wall says."""
    flags = ["--exp=simple_cnn_digits", "--train.epochs=1", "--data.steps_per_epoch=3", f"--workdir={tmp_path / 'run'}"]
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "cnn_jax.train", *flags], capture_output=True, text=True)
    wall = time.perf_counter() - begun
    assert done.returncode == 0, done.stderr
    seconds = json.loads((tmp_path / "run" / "result.json").read_text())["seconds"]
    other = seconds.pop(OTHER)
    assert sum(seconds.values()) >= SHARE * wall - 0.1  # what starts and ends any Python process
    assert {"imports", "data", "compilation", "first step", "training", "validation", "report"} <= set(seconds)
    line = next(line for line in done.stdout.splitlines() if line.startswith("time "))
    printed = dict(part.rsplit(" ", 1) for part in line.split(": ", 1)[1].split(", "))
    assert float(printed["report"]) == pytest.approx(seconds["report"], abs=0.1)
    assert sum(map(float, printed.values())) == pytest.approx(sum(seconds.values()) + other, abs=1.0)
