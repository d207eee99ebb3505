"""launch/gpu_vm.sh with a fake docker: what it is given. No container is built or started here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.conftest import LAUNCH, Machine, calls, executable

ROOT = LAUNCH.parent
TRAIN = ("--", "--exp=a b", "--data.dataset=folder:/data")


@pytest.fixture
def machine(machine: Machine) -> Machine:
    docker(machine)
    return machine


def docker(machine: Machine, *, state: str = "", image: bool = True) -> None:
    """A docker that says that the container is in this state ("" : there is none) and that the image exists or not."""
    record = machine.folder / "docker.jsonl"
    text = f"""#!{sys.executable} -SE
import json, os, sys
open({str(record)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')
if sys.argv[1:3] == ['container', 'inspect']:
    if not {state!r}:
        sys.exit('Error response from daemon: No such container')
    print({state!r})
if sys.argv[1:3] == ['image', 'ls'] and {image}:
    print('0123456789ab')
if sys.argv[1] == 'build':
    print(sorted(os.listdir(sys.argv[-1])))
"""
    executable(machine.bin / "docker", text)


def head() -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()


def last(machine: Machine, verb: str) -> list[str]:
    return next(call for call in reversed(calls(machine.folder / "docker.jsonl")) if call[0] == verb)


def test_run_mounts_data_cache_and_runs_and_keeps_the_arguments(machine: Machine) -> None:
    (machine.folder / "my photos").mkdir()
    flags = ("--name=first", "--data=my photos", "--cache=cache", "--gpus=device=0,1", "--runs=my runs")
    done = machine.run("gpu_vm.sh", "run", *flags, *TRAIN)
    assert done.code == 0, done.err
    folder = machine.folder
    assert last(machine, "run") == [
        *("run", "--detach", "--name", "first", "--stop-timeout", "300", "--gpus", "device=0,1", "--init"),
        *("--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{folder}/cache:/cache"),
        *("--volume", f"{folder}/my runs:/runs", "--volume", f"{folder}/my photos:/data:ro", f"cnn_jax:{head()}"),
        *("python", "-m", "cnn_jax.train", "--workdir=/runs/first", "--exp=a b", "--data.dataset=folder:/data"),
    ]
    assert (folder / "my runs").is_dir()  # Docker would make it, for root
    assert (folder / "cache").is_dir()


@pytest.mark.parametrize(("state", "removed"), [("exited 143", True), ("", False)])
def test_run_again_after_the_end_replaces_the_container(machine: Machine, state: str, removed: bool) -> None:
    docker(machine, state=state)
    assert machine.run("gpu_vm.sh", "run", *TRAIN).code == 0
    verbs = [call[:2] for call in calls(machine.folder / "docker.jsonl")]
    assert (["container", "rm"] in verbs) == removed
    assert verbs[-1] == ["run", "--detach"]


def test_run_refuses_while_the_run_goes_on_and_delete_while_it_could_save(machine: Machine) -> None:
    docker(machine, state="running 0")
    for command, said in (("run", "cnn_jax runs already"), ("delete", "stop first, so that it saves")):
        done = machine.run("gpu_vm.sh", command, *TRAIN)
        assert done.code == 1
        assert said in done.err
    assert not [call for call in calls(machine.folder / "docker.jsonl") if call[0] == "run" or "rm" in call]
    assert machine.run("gpu_vm.sh", "stop").code == 0
    assert last(machine, "stop") == ["stop", "cnn_jax"]


def test_what_is_gone_or_stopped_already_is_no_error(machine: Machine) -> None:
    assert machine.run("gpu_vm.sh", "delete").out == "cnn_jax is gone already\n"
    assert machine.run("gpu_vm.sh", "stop").out == "cnn_jax: absent\n"
    assert machine.run("gpu_vm.sh", "status").out == "cnn_jax: absent\n"


def test_build_gives_docker_that_commit_and_nothing_else(machine: Machine) -> None:
    docker(machine, image=False)
    stray = ROOT / "launch" / "not-committed.tmp"
    stray.touch()
    try:
        done = machine.run("gpu_vm.sh", "build", TMPDIR=str(machine.folder))
    finally:
        stray.unlink()
    assert done.code == 0, done.err
    call = last(machine, "build")
    context = Path(call[-1])
    assert call == [
        *("build", "--tag", f"cnn_jax:{head()}", "--build-arg", f"COMMIT={head()}"),
        *("--file", f"{context}/launch/Containerfile", str(context)),
    ]
    assert "'.git'" in done.out  # so that runs in the container name their commit
    assert "'pyproject.toml'" in done.out
    assert not context.exists()
    assert "uncommitted changes" in done.err


def test_build_of_an_image_that_exists_and_run_without_one(machine: Machine) -> None:
    assert "exists already" in machine.run("gpu_vm.sh", "build").out
    docker(machine, image=False)
    done = machine.run("gpu_vm.sh", "run", *TRAIN)
    assert done.code == 1
    assert "launch/gpu_vm.sh build" in done.err


@pytest.mark.parametrize("command", ["build", "preflight", "run", "logs", "stop", "delete"])
def test_dry_run_prints_and_runs_nothing(machine: Machine, command: str) -> None:
    before = sorted(machine.folder.iterdir())
    done = machine.run("gpu_vm.sh", command, "--dry-run", *TRAIN)
    assert done.code == 0, done.err
    assert "docker " in done.out
    assert sorted(machine.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run",), "no experiment"),
        (("run", "--name=my run", *TRAIN), "--name='my run' is not possible"),
        (("run", "--data=/nowhere", *TRAIN), "--data=/nowhere is not a folder"),
        (("run", "--runs=a:b", *TRAIN), "--runs=a:b is not possible"),
        (("build", "--commit=nonsense"), "--commit=nonsense is not a commit of"),
        (("fly",), "unknown command 'fly'"),
    ],
)
def test_wrong_use_is_exit_code_2(machine: Machine, arguments: tuple[str, ...], named: str) -> None:
    done = machine.run("gpu_vm.sh", *arguments)
    assert done.code == 2
    assert f"error: {named}" in done.err


def test_without_docker_the_fix_is_named(machine: Machine) -> None:
    (machine.bin / "docker").unlink()
    done = machine.run("gpu_vm.sh", "status")
    assert done.code == 2
    assert "docker is not installed: https://docs.docker.com/engine/install" in done.err
