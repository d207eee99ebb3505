"""What the faults share: a finished run, disks of their own, and a count of how each fault ended."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cnn_jax import train
from tests.training.helpers import SMALL_CNN, flags, with_

ENDINGS = ("finished", "resumed", "one clear error")


@pytest.fixture
def ended(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Count a fault: its name, how it ended (one of `ENDINGS`), and what was going on."""

    def count(fault: str, ending: str, during: str = "") -> None:
        assert ending in ENDINGS
        record_property("fault", (fault, ending, during))

    return count


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run with its report; not to be changed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert train.main(flags(with_(SMALL_CNN, train={"epochs": 2}), workdir)) == 0
    return workdir


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory with these options, such as `size=1m`; unmounts it at the end."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", path], check=False)
