"""Two runs in one directory at once: the second is refused, and a lock never outlives its process."""

import errno
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cnn_jax.errors import RunError
from cnn_jax.training import resume
from cnn_jax.training.run import lock
from tests.faults.commands import error_of, nothing_changed, run, train
from tests.faults.processes import Marked
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, flags, metrics, with_

LONG = with_(SMALL_CNN, train={"epochs": 7})


@pytest.mark.long
def test_a_second_start_is_refused_while_the_first_trains_and_goes_on_after_its_kill(
    tmp_path: Path, ended: Callable[..., None]
) -> None:
    workdir = tmp_path / "run"
    with Marked("train", flags(LONG, workdir), {}) as first:
        assert first.reaches("validating", 4), "by then there is a checkpoint, whole"
        first.stop()
        with nothing_changed(workdir):
            message = error_of("train", *flags(LONG, workdir))
            other = error_of("train", *flags(replace(LONG, seed=1), workdir))
        assert message.startswith(f"--workdir={workdir} is in use: process {first.pid} on ")
        assert "give another --workdir" in message
        assert other == message
        ended("second start in the directory of a run", "one clear error")
        assert run("predict", _digit(tmp_path), f"--checkpoint={workdir}") == 0, "reading needs no lock"
    assert train(LONG, workdir) == 0
    assert train(LONG, tmp_path / "whole") == 0
    assert_identical(final_state(LONG, workdir), final_state(LONG, tmp_path / "whole"))
    ended("start in the directory of a run that was killed", "resumed")


def _digit(folder: Path) -> Path:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(folder / "digit.png")
    return folder / "digit.png"


@pytest.mark.long
def test_of_two_that_begin_at_once_the_slower_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    """The other trains while this one reads its data: when this one looked, there was no directory yet."""
    workdir, set_up = tmp_path / "run", resume.set_up
    fast = replace(SMALL_CNN, seed=5)

    def overtaken(*arguments):
        monkeypatch.setattr(resume, "set_up", set_up)
        assert train(fast, workdir) == 0
        return set_up(*arguments)

    monkeypatch.setattr(resume, "set_up", overtaken)
    message = error_of("train", *flags(SMALL_CNN, workdir))
    assert "holds a run with another configuration" in message
    assert "seed: 5 -> 0" in message
    assert len(metrics(workdir)) == 2 * fast.train.epochs
    ended("two first starts at once", "one clear error")


def test_the_same_run_begun_twice_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    workdir, set_up = tmp_path / "run", resume.set_up

    def overtaken(*arguments):
        monkeypatch.setattr(resume, "set_up", set_up)
        assert train(SMALL_CNN, workdir) == 0
        return set_up(*arguments)

    monkeypatch.setattr(resume, "set_up", overtaken)
    assert "another run began there a moment ago" in error_of("train", *flags(SMALL_CNN, workdir))
    ended("two first starts at once", "one clear error")


def test_a_lock_holds_against_other_processes_alone_and_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from cnn_jax.training.run.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1])); lock.take(); lock.take(); print('held', flush=True); sys.stdin.read()"
    )
    command = ["python", "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"in use: process {other.pid} on"):
            lock.Lock(tmp_path).take()
        other.kill()
    with lock.Lock(tmp_path) as held:
        held.take()
        assert (tmp_path / lock.FILE).read_text().startswith(f"process {os.getpid()} on ")
    with lock.Lock(tmp_path) as again:
        again.take()


@pytest.mark.long
def test_where_the_file_system_has_no_locks_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    import fcntl

    flock = fcntl.flock

    def refuse(file: int, operation: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{file}")).name == lock.FILE:  # JAX locks its programs too
            raise OSError(errno.ENOLCK, "No locks available")
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert train(SMALL_CNN, tmp_path / "run") == 0
    ended("file system without locks", "finished")
