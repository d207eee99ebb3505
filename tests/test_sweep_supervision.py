"""The process that looks after a sweep: runs that kill theirs, signals, exit codes. The workers are small scripts."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cnn_jax
from cnn_jax.errors import EXIT_FAILED, EXIT_SIGINT, EXIT_SIGTERM
from cnn_jax.sweeping import supervision
from tests.conftest import until
from tests.test_sweep import POINTS, SMALL, command, place, record

WORKER = """
import os, signal, sys, time
from pathlib import Path
from cnn_jax.sweeping import supervision

def begin(run):
    with open(sys.argv[1], "a") as file:
        file.write(run + "\\n")
    supervision.at(run)

for run in "abc":
    if run not in supervision.lost():
        begin(run)
        {body}
"""


def supervise(tmp_path: Path, body: str) -> tuple[int, list[str]]:
    """The exit code of a supervised worker, and the runs that it began, over all starts."""
    began = tmp_path / "began"
    code = supervision.supervise([sys.executable, "-c", WORKER.format(body=body), str(began)])
    return code, began.read_text().split()


@pytest.mark.parametrize("code", [0, 1, 2, 130, 143])
def test_the_exit_code_is_the_workers(code: int, tmp_path: Path) -> None:
    assert supervise(tmp_path, f"sys.exit({code})") == (code, ["a"])


def test_after_a_run_that_kills_its_process_the_others_go_on(tmp_path: Path) -> None:
    body = "run == 'b' and os.kill(os.getpid(), signal.SIGKILL)"
    assert supervise(tmp_path, body) == (0, ["a", "b", "a", "c"])


def test_what_is_known_of_a_killed_run_is_told(tmp_path: Path) -> None:
    told = tmp_path / "told"
    body = (
        f"Path({str(told)!r}).write_text(repr(supervision.lost()))\n"
        "        run == 'a' and os.kill(os.getpid(), signal.SIGKILL)\n"
        "        run == 'b' and os.kill(os.getpid(), signal.SIGSEGV)"
    )
    assert supervise(tmp_path, body)[0] == 0
    assert "SIGKILL): most likely the machine has too little memory for it" in told.read_text()
    assert "(SIGSEGV)'" in told.read_text()


def test_a_process_that_dies_between_runs_is_not_started_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "supervision.at(None); os.kill(os.getpid(), signal.SIGKILL)"
    assert supervise(tmp_path, body) == (EXIT_FAILED, ["a"])
    assert "something ended the sweep (SIGKILL)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "worker", "expected"),
    [
        (signal.SIGTERM, "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))", EXIT_SIGTERM),
        (signal.SIGINT, "signal.signal(signal.SIGINT, lambda *_: sys.exit(130))", EXIT_SIGINT),
        (signal.SIGHUP, "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))", EXIT_SIGTERM),
        (signal.SIGTERM, "pass", EXIT_SIGTERM),  # before the worker listens
    ],
)
def test_signals_are_passed_on_once(number: int, worker: str, expected: int, tmp_path: Path) -> None:
    sleeps = "[time.sleep(0.1) for _ in range(6000)]"  # a signal in the moment before a long one would wait for its end
    body = f"{worker}; open(sys.argv[1] + '.ready', 'w').close(); {sleeps}"
    script = WORKER.format(body=body)
    outer = (
        "import signal, sys; from cnn_jax.sweeping import supervision\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # which nohup ignores
        f"sys.exit(supervision.supervise([sys.executable, '-c', {script!r}, {str(tmp_path / 'began')!r}]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cnn_jax.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", outer], env=environment)
    try:
        until((tmp_path / "began.ready").exists)
        process.send_signal(number)
        assert process.wait(300) == expected
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "began").read_text().split() == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux'")
def test_a_worker_ends_with_the_process_that_looks_after_it(tmp_path: Path) -> None:
    body = "supervision.end_with_parent(); Path(sys.argv[1] + '.pid').write_text(str(os.getpid())); time.sleep(600)"
    outer = (
        "import sys; from cnn_jax.sweeping import supervision\n"
        f"supervision.supervise([sys.executable, '-c', {WORKER.format(body=body)!r}, {str(tmp_path / 'began')!r}])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cnn_jax.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", outer], env=environment)
    pid = tmp_path / "began.pid"
    until(lambda: pid.exists() and pid.read_text())
    process.kill()
    process.wait()
    until(lambda: not _runs(pid.read_text()))


def _runs(pid: str) -> bool:
    """Not that it has ended and nobody has asked how, as where the first process of a container waits for no one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.long
def test_a_lost_run_is_a_row_and_the_process_says_what_it_is_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    monkeypatch.setenv(supervision.STATE, str(state))
    error = "something ended the process of this run (SIGKILL)"
    state.write_text(json.dumps({"running": None, "lost": {str(place(tmp_path, POINTS[0], 0)): error}}))
    named: list[str | None] = []
    say = supervision.at
    monkeypatch.setattr(supervision, "at", lambda directory: (named.append(directory), say(directory)))
    assert command(SMALL, tmp_path, "--freeze-until", POINTS[0], "head") == EXIT_FAILED
    assert [row["status"] for row in record(tmp_path)["rows"]] == ["failed", "completed"]
    assert record(tmp_path)["rows"][0]["runs"][0]["error"] == error
    assert named == [str(place(tmp_path, "head", 0)), None]
