"""Every command with names of all control characters, in a process of its own: nothing reaches the terminal."""

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.strange import picture
from tests.training.helpers import SMALL_CNN, flags, with_

CONTROLS = "".join(map(chr, (*range(1, 32), *range(127, 160))))
MARKS = "\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
NAME = f"n\x1b]0;owned\x07\x1b[2J{CONTROLS}{MARKS}".replace("/", "")
OBEYED = {*CONTROLS, *MARKS} - {"\n"}
OWN = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]|\r")
"""What rich and tyro write themselves: colours and movements, of which no name has one in this form but `\x1b[2J`."""


UNNAMED = ("help", "wrong number", "explain", "sweep")
"""These do not always say the name."""


def printed(arguments: list[str], folder: Path, terminal: bool) -> str:
    """All that `python -m` with these arguments writes, to pipes or to a terminal."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "80", "TERM": "xterm"}
    if not terminal:
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True)
        return (done.stdout + done.stderr).decode(errors="surrogateescape")
    ours, theirs = pty.openpty()
    content: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                content.append(os.read(ours, 65536))
            except OSError:  # the other end is closed
                return

    listener = threading.Thread(target=listen)
    listener.start()
    subprocess.run([sys.executable, "-m", *arguments], cwd=folder, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    listener.join()
    os.close(ours)
    return b"".join(content).decode(errors="surrogateescape").replace("\r\n", "\n")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, an experiment, a cache and a weights file of that name, and a run in one."""
    root = tmp_path_factory.mktemp("terminal")
    for split in ("train", "validation"):
        for number, name in enumerate((NAME, "dog")):
            for i in range(4):
                picture(root / NAME / split / name / f"{NAME}{i}.png", 100 * number + i + (split == "train"))
    (root / NAME / "train" / NAME / f"{NAME}broken.png").write_bytes(b"x")
    (root / "experiments").mkdir()
    (root / "experiments" / f"{NAME}.py").write_text('"""Doc."""\n')
    (root / "cache" / NAME).mkdir(parents=True)
    (root / f"{NAME}.h5").write_bytes(b"x")
    config = with_(
        SMALL_CNN,
        data={"dataset": f"folder:{root / NAME}", "batch_size": 4, "unreadable": "skip"},
        train={"epochs": 1},
    )
    flags(config, root / "experiment")
    return root


@pytest.mark.long
@pytest.mark.parametrize("terminal", [pytest.param(False, marks=pytest.mark.slow), True], ids=["pipes", "terminal"])
def test_no_control_character_of_a_name_reaches_the_terminal(
    terminal: bool, world: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    monkeypatch.setenv("CNN_JAX_CACHE", str(world / "cache"))
    run, photographs = str(world / f"run{NAME}{terminal}"), str(world / NAME / "validation")
    commands = {
        "train": ["cnn_jax.train", "--exp=experiment.py", f"--workdir={run}"],
        "evaluate": ["cnn_jax.evaluate", f"--checkpoint={run}", f"--compare={run}"],
        "predict": ["cnn_jax.predict", photographs, f"--checkpoint={run}"],
        "explain": ["cnn_jax.explain", f"{photographs}/{NAME}", f"--checkpoint={run}", "--methods", "grad-cam"],
        "serve": ["cnn_jax.serve", run, f"--host={NAME}"],
        "export": ["cnn_jax.export", f"--checkpoint={run}", "--format=keras-h5"],
        "sweep": ["cnn_jax.sweep", "--exp=experiment.py", f"--workdir={run}s", "--freeze-until", "none", "conv1"],
        "compare": ["cnn_jax.compare", run, run],
        "check_data": ["cnn_jax.check_data", str(world / NAME)],
        "verify_weights": ["cnn_jax.verify_weights", f"--model.weights={world}/{NAME}.h5"],
        "summarize": ["cnn_jax.summarize", f"--exp={NAME}"],
        "cache": ["cnn_jax.cache"],
        "list": ["cnn_jax"],
        "unknown command": ["cnn_jax", NAME],
        "unknown flag": ["cnn_jax.train", "--exp=quickstart", f"--{NAME}=1"],
        "unknown choice": ["cnn_jax.train", "--exp=quickstart", f"--model.name={NAME}"],
        "wrong number": ["cnn_jax.predict", "x", f"--top={NAME}"],
        "help": ["cnn_jax.train", "--exp=quickstart", f"--workdir={NAME}", "--help"],
        "no run": ["cnn_jax.evaluate", f"--checkpoint={NAME}"],
    }
    for command, arguments in commands.items():
        text = printed(arguments, world, terminal)
        assert "\x1b[2J" not in text, command
        left = OBEYED & set(OWN.sub("", text) if terminal else text)
        assert not left, (command, sorted(left), text[-2000:])
        plain = "".join(OWN.sub("", text).split())
        assert "n\\x1b]0;owned\\x07" in plain or command in UNNAMED, (command, text[-2000:])
        ended("names of all control characters", "finished", f"{command}, {'terminal' if terminal else 'pipes'}")
