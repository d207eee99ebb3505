"""launch/detached.sh and launch/local.sh: a run that outlives its terminal, once, with a log and an exit code."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tests.launch.conftest import Machine, executable

HANG = "trap 'echo saving; exit 143' TERM; echo begun; while :; do sleep 0.02; done"


@pytest.fixture
def machine(machine: Machine) -> Iterator[Machine]:
    yield machine
    for state in machine.folder.glob("**/lock"):
        machine.run("detached.sh", "stop", str(state.parent), "10")


def status(machine: Machine, folder: str = "a run") -> str:
    return machine.run("detached.sh", "status", folder).out.strip()


def test_a_command_keeps_its_arguments_and_leaves_its_output_and_exit_code(machine: Machine) -> None:
    assert status(machine) == "state=none"
    odd = 'it\'s $HOME; "x" *\ny'
    done = machine.run("detached.sh", "start", "a run", "--", "bash", "-c", 'printf "[%s]" "$@"; exit 7', "x", odd, "")
    assert (done.code, done.err) == (0, "")
    until(lambda: status(machine) == "state=exited code=7")
    log = (machine.folder / "a run" / "log").read_text()
    assert f"[{odd}][]" in log
    assert "exit code 7" in log


def test_a_second_start_is_refused_while_the_first_runs(machine: Machine) -> None:
    assert machine.run("detached.sh", "start", "a run", "--", "bash", "-c", HANG).code == 0
    again = machine.run("detached.sh", "start", "a run", "--", "bash", "-c", "echo second")
    pid = (machine.folder / "a run" / "pid").read_text().strip()
    assert again.code == 1
    assert again.err == f"error: already running: state=running pid={pid}\n"
    until(lambda: "begun" in (machine.folder / "a run" / "log").read_text())
    assert machine.run("detached.sh", "stop", "a run").out == "state=stopped code=143\n"
    assert machine.run("detached.sh", "stop", "a run").out == "state=stopped code=143\n"
    assert "saving" in (machine.folder / "a run" / "log").read_text()
    assert machine.run("detached.sh", "start", "a run", "--", "true").code == 0
    until(lambda: status(machine) == "state=exited code=0")


def test_sigterm_to_everything_as_at_a_shutdown_still_leaves_the_exit_code(machine: Machine) -> None:
    machine.run("detached.sh", "start", "a run", "--", "bash", "-c", HANG)
    folder = machine.folder / "a run"
    until(lambda: "begun" in (folder / "log").read_text())
    os.killpg(int((folder / "watcher").read_text()), signal.SIGTERM)
    until(lambda: status(machine) == "state=exited code=143")


def test_a_machine_that_goes_down_leaves_a_run_that_is_lost_and_can_start_again(machine: Machine) -> None:
    machine.run("detached.sh", "start", "a run", "--", "bash", "-c", HANG)
    os.killpg(int((machine.folder / "a run" / "watcher").read_text()), signal.SIGKILL)
    until(lambda: status(machine) == "state=lost")
    assert machine.run("detached.sh", "start", "a run", "--", "true").code == 0


def test_a_command_that_ignores_sigterm_is_named_and_not_killed(machine: Machine) -> None:
    machine.run("detached.sh", "start", "a run", "--", "bash", "-c", "trap '' TERM; echo begun; sleep 300")
    until(lambda: "begun" in (machine.folder / "a run" / "log").read_text())
    done = machine.run("detached.sh", "stop", "a run", "0")
    assert done.code == 1
    assert "still runs 0 s after SIGTERM" in done.err
    os.killpg(int((machine.folder / "a run" / "watcher").read_text()), signal.SIGKILL)


@pytest.mark.long
def test_logs_end_with_the_command(machine: Machine) -> None:
    assert "nothing was started" in machine.run("detached.sh", "logs", "a run").err
    machine.run("detached.sh", "start", "a run", "--", "bash", "-c", "sleep 0.5; echo last words")
    followed = machine.run("detached.sh", "logs", "a run")
    assert "last words" in followed.out
    assert "exit code 0" in machine.run("detached.sh", "logs", "a run", "--no-follow").out


def fake_python(machine: Machine, text: str = 'printf "%s\\n" "$@"; grep Cpus_allowed_list /proc/self/status') -> Path:
    path = machine.folder / "my python"
    executable(path, f"#!/usr/bin/env bash\n{text}\n")
    return path


def test_local_runs_side_by_side_each_on_its_own_cores(machine: Machine) -> None:
    core = min(os.sched_getaffinity(0))
    python = f"--python={fake_python(machine)}"
    for name in ("first", "second run"):
        done = machine.run("local.sh", "run", f"--name={name}", python, f"--cores={core}", "--", "--exp=a b", "--x=$y")
        assert done.code == 0, done.err
        until(lambda name=name: "exited" in machine.run("local.sh", "status", f"--name={name}").out)
        log = (machine.folder / "runs" / ".launch" / name / "log").read_text()
        assert f"-m\ncnn_jax.train\n--workdir=runs/{name}\n--exp=a b\n--x=$y\nCpus_allowed_list:\t{core}\n" in log
    assert machine.run("local.sh", "status").out == "first state=exited code=0\nsecond run state=exited code=0\n"
    assert "exit code 0" in machine.run("local.sh", "logs", "--name=first").out


def test_local_refuses_twice_stops_and_prints_with_dry_run(machine: Machine) -> None:
    arguments = ("--name=first", f"--python={fake_python(machine, HANG)}", "--", "--exp=quickstart")
    dry = machine.run("local.sh", "run", "--dry-run", *arguments)
    assert "detached.sh start runs/.launch/first -- " in dry.out
    assert not (machine.folder / "runs").exists()
    assert machine.run("local.sh", "run", *arguments).code == 0
    again = machine.run("local.sh", "run", *arguments)
    assert again.code == 1
    assert "already running" in again.err
    until(lambda: "begun" in (machine.folder / "runs" / ".launch" / "first" / "log").read_text())
    assert machine.run("local.sh", "stop", "--name=first").out == "state=stopped code=143\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "--", "--exp=a"), "no name: give --name=NAME"),
        (("run", "--name=../x", "--", "--exp=a"), "--name='../x' is not possible"),
        (("run", "--name=x"), "no experiment"),
        (("run", "--name=x", "--python=/nowhere/python", "--", "--exp=a"), "/nowhere/python is not installed"),
        (("run", "--name=x", "--python=bash", "--cores=999", "--", "--exp=a"), "--cores=999 is not possible"),
        (("logs",), "no name"),
        (("walk",), "unknown command 'walk'"),
    ],
)
def test_wrong_use_of_local_is_one_line_and_exit_code_2(
    machine: Machine, arguments: tuple[str, ...], named: str
) -> None:
    done = machine.run("local.sh", *arguments)
    assert done.code == 2
    assert done.err.startswith(f"error: {named}")
    assert done.err.count("\n") == 1
