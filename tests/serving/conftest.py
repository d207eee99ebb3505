"""A server in a process of its own, with two runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

import cnn_jax
from cnn_jax.evaluation.classifier import Classifier

PATIENCE_SECONDS = 300.0
RUNS = ("first", "second")


class Server:
    """`python -m cnn_jax.serve` with these arguments, ready to answer; killed at the end, unless it was stopped."""

    def __init__(self, *arguments: object, python: object = sys.executable, **environment: str) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in __exit__)
        self.process = subprocess.Popen(
            [str(python), "-m", "cnn_jax.serve", *map(str, arguments), "--port=0"],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,
        )
        end = time.monotonic() + PATIENCE_SECONDS
        while (found := re.search(r"^ready +(\S+)", self.said, re.MULTILINE)) is None:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.05)
        self.address = found[1]
        self.url = self.address.partition("#")[0]
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def said(self) -> str:
        """All that it printed."""
        self._said.seek(0)
        return self._said.read()

    @property
    def children(self) -> list[int]:
        """Its processes that decode."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._said.close()


@pytest.fixture(scope="session")
def served_runs(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on digits that answer alike."""
    folder = tmp_path_factory.mktemp("served")
    return [shutil.copytree(small_run, folder / name) for name in RUNS]


@pytest.fixture(scope="session")
def server(served_runs: list[Path]) -> Iterator[Server]:
    with Server(*served_runs) as started:
        yield started
        assert "Traceback" not in started.said, started.said


@pytest.fixture(scope="session")
def classifier(served_runs: list[Path]) -> Classifier:
    """The first of the runs, as it answers without a server."""
    return cnn_jax.load(served_runs[0])
