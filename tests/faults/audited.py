"""Runs a command as `python -m cnn_jax.COMMAND` does, and writes down what Python's audit events tell of it.

    AUDIT=FILE python -m tests.faults.audited train --exp=…

A line for each class that a pickle asked for, process that was started, connection that was made, and file that was
opened for writing by Python. What TensorFlow and TensorStore do in C++ is not seen: for that, compare the folders.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

WATCHED = ("pickle.find_class", "marshal.load", "os.system", "os.exec", "subprocess.Popen", "socket.connect")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in WATCHED:
        _note(event, repr(arguments[:2])[:300])
    elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path, mode, flags = arguments
        if (mode and set(mode) & set("wax+")) or (flags and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            _note(event, os.path.abspath(os.fsdecode(path)))


def _note(event: str, what: str) -> None:
    os.write(_audit, f"{event} {what!r}\n".encode("utf-8", "backslashreplace"))


def events(path: Path) -> list[tuple[str, str]]:
    """What was written down: event, and what it was about."""
    return [(line.partition(" ")[0], line.partition(" ")[2][1:-1]) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    os.environ["CNN_JAX_NO_TUNING"] = "1"  # which would start this program again
    _audit = os.open(os.environ["AUDIT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.addaudithook(_hook)
    name = sys.argv.pop(1)
    from cnn_jax.cli import command_line

    command_line.run(importlib.import_module(f"cnn_jax.{name}").main)
