"""A hundred thousand tiny files: listed, checked and trained on, with the time and memory that it takes."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.helpers import SMALL_CNN, flags, with_

FILES = int(os.environ.get("FILES", "100000"))


def _measured(*command: object) -> tuple[int, str, float, float]:
    """Return code, output, seconds and megabytes of a process."""
    begun = time.monotonic()
    merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(list(map(str, command)), **merged) as process:
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert isinstance(used, resource.struct_rusage)
    return process.returncode, said, time.monotonic() - begun, used.ru_maxrss / 1024


@pytest.mark.slow
def test_a_hundred_thousand_tiny_files(tmp_path: Path, ended: Callable[..., None]) -> None:
    data = tmp_path / "data"
    for number, name in enumerate(("cat", "dog")):
        (data / name).mkdir(parents=True)
        rng = np.random.default_rng(number)
        for i in range(FILES // 2):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(data / name / f"{i:06d}.png", "png")
    config = with_(
        SMALL_CNN, data={"dataset": f"folder:{data}", "batch_size": 64, "steps_per_epoch": 100}, train={"epochs": 2}
    )
    commands = {
        "train": flags(config, tmp_path / "run"),
        "evaluate": [f"--checkpoint={tmp_path / 'run'}"],
        "check_data": [data, f"--json={tmp_path / 'c.json'}"],
        "predict": [data / "cat", f"--checkpoint={tmp_path / 'run'}", f"--output={tmp_path / 'p.csv'}"],
    }
    for command, arguments in commands.items():
        code, said, seconds, megabytes = _measured(sys.executable, "-m", f"cnn_jax.{command}", *arguments)
        assert code in ((0, 1) if command == "check_data" else (0,)), said
        assert "Traceback" not in said
        print(f"{command:<12}{FILES:,} files   {seconds:7.1f} s   {megabytes:7.0f} MB")
        ended(f"{FILES:,} tiny files", "finished", command)
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 1 + 2 * (FILES // 2)
