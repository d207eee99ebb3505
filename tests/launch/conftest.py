"""A machine for the launchers: a folder of harmless programs instead of PATH, and a cloud that is a folder.

No real gcloud, docker or srun can be reached from here: PATH holds links to the named programs and nothing else.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
LAUNCH = HERE.parent.parent / "launch"
PROGRAMS = ("awk", "basename", "bash", "cat", "cp", "cut", "date", "dirname", "env", "flock", "git", "grep", "head")
PROGRAMS += ("id", "kill", "ln", "ls", "mkdir", "mktemp", "mv", "nproc", "rm", "sed", "setsid", "sh", "sleep", "sort")
PROGRAMS += ("tail", "taskset", "timeout", "touch", "tr", "true", "wc")
TARGET = ("--name=cats", "--project=my-project", "--zone=us-west4-a")
PLACE = ["--project=my-project", "--zone=us-west4-a", "--quiet"]


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@dataclass
class Machine:
    """A PATH of its own; `run` starts a launcher there."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bin.mkdir(parents=True)
        for name in PROGRAMS:
            found = shutil.which(name)
            assert found, f"the tests need {name}"
            (self.bin / name).symlink_to(found)

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def run(self, script: str, *arguments: str, **environment: str) -> Finished:
        variables = {"PATH": str(self.bin), "HOME": str(self.folder), **self.environment, **environment}
        done = subprocess.run(
            ["bash", str(LAUNCH / script), *arguments],
            capture_output=True,
            text=True,
            env=variables,
            cwd=self.folder,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def fake(self, name: str) -> Path:
        """A program that writes its arguments, one JSON array a call, into the file that is returned."""
        record = self.folder / f"{name}.jsonl"
        write = f"open({str(record)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
        executable(self.bin / name, f"#!{sys.executable} -SE\nimport json, sys\n{write}\n")
        return record


def calls(record: Path) -> list[list[str]]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


@dataclass
class Cloud(Machine):
    """A machine with a fake gcloud; the settings of `scenario` are what the cloud does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.environment["FAKE_CLOUD"] = str(self.folder)
        executable(self.bin / "gcloud", f"#!{sys.executable} -SE\n" + (HERE / "fake_gcloud.py").read_text())
        tools = self.folder / "worker_bin"
        tools.mkdir()
        fake = (HERE / "fake_python.sh").read_text().replace("REAL_PYTHON", sys.executable)
        executable(tools / "python3.13", fake)
        executable(tools / "hostname", '#!/usr/bin/env bash\nbasename "$HOME"\n')
        self.scenario: dict[str, Any] = {
            "workers": 2,
            "create_error": "",
            "describe_error": "",
            "ssh_failure": None,  # {"worker": "1", "word": "start"}
            "lives": [["ACCEPTED", "PROVISIONING", "ACTIVE"]],  # states of the resource after each create
            "after_start": [],  # states after each start of training
            "stop_after_statuses": None,  # how often the workers are asked before somebody stops the run
            "home": {"outcomes": "0\n", **packages()},
        }
        self.states("ABSENT")

    def states(self, *states: str) -> None:
        (self.folder / "states.json").write_text(json.dumps(states))

    def tpu(self, *arguments: str, target: tuple[str, ...] = TARGET, **environment: str) -> Finished:
        (self.folder / "scenario.json").write_text(json.dumps(self.scenario))
        command, *rest = arguments
        return self.run("tpu_vm.sh", command, *target, *rest, **environment)

    def calls(self) -> list[list[str]]:
        """The arguments of every call of gcloud after `compute tpus`, without the resource's place."""
        found = calls(self.folder / "calls.jsonl")
        return [[a for a in call[2:] if a not in PLACE] for call in found]

    def verbs(self) -> list[str]:
        """Each call in a word: create, describe, delete, scp, or what tpu_worker.sh was told."""
        return [worker_action(call) if call[1] == "ssh" else call[1] for call in self.calls()]

    def home(self, worker: int) -> Path:
        return self.folder / "workers" / f"t1v-w-{worker}"

    def install(self, repository: "Repository") -> None:
        """What create, wait and install leave behind, made without them to save time."""
        self.states("ACTIVE")
        for worker in range(self.scenario["workers"]):
            home = self.home(worker)
            subprocess.run(["git", "clone", "--quiet", repository.folder, home / "cnn_jax"], check=True)
            for name in ("tpu_worker.sh", "detached.sh"):
                shutil.copy(LAUNCH / name, home)
            for name, text in self.scenario["home"].items():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_text(text)
            python = home / "cnn_jax" / ".venv" / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.symlink_to(self.folder / "worker_bin" / "python3.13")

    def end_runs(self) -> None:
        for state in self.folder.glob("workers/*/cnn_jax_run"):
            self.run("detached.sh", "stop", str(state), "10")


def worker_action(call: list[str]) -> str:
    command = next(a for a in call if a.startswith("--command="))
    return command.split()[2]


def packages(jax: str = "0.10.2", devices: int = 8, processes: int = 2) -> dict[str, str]:
    """Files of a worker: a `jax` that counts these devices, and the versions of what is installed."""
    stub = (
        "class distributed:\n    initialize = staticmethod(lambda: None)\n"
        f"process_count = lambda: {processes}\ndevice_count = lambda: {devices}\ndefault_backend = lambda: 'tpu'\n"
    )
    versions = {"jax": jax, "jaxlib": jax, "libtpu": "0.0.40", "flax": "0.12.8", "optax": "0.2.8"}
    versions["orbax_checkpoint"] = "0.12.8"
    files = {
        f"site/{name}-{version}.dist-info/METADATA": f"Name: {name.replace('_', '-')}\nVersion: {version}\n"
        for name, version in versions.items()
    }
    return {"site/jax/__init__.py": stub, **files}


@dataclass(frozen=True)
class Repository:
    folder: Path
    commits: tuple[str, ...]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Two commits, in a folder whose name has a blank and a quote."""
    folder = tmp_path_factory.mktemp("it's a repository")
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for kind in ("AUTHOR", "COMMITTER"):
        who |= {f"GIT_{kind}_NAME": "a", f"GIT_{kind}_EMAIL": "a@b"}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, env=os.environ | who, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    commits = []
    for content in ("first", "second"):
        (folder / "file").write_text(content)
        git("add", "file")
        git("commit", "--quiet", "-m", content)
        commits.append(git("rev-parse", "HEAD"))
    return Repository(folder, tuple(commits))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "a machine")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path / "the cloud")
    yield made
    made.end_runs()
