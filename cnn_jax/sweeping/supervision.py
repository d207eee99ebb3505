"""The sweep in a process of its own: a run that takes its process with it becomes a row, and the others go on.

On CPU, a run that needs more memory than there is does not raise an error: the system kills the process.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from cnn_jax.errors import EXIT_FAILED
from cnn_jax.io.writing import write_atomically

STATE = "CNN_JAX_SWEEP_STATE"
"""Environment variable, set for the process that works: the file in which it says what it is at."""

PASSED_ON = {signal.SIGINT: signal.SIGINT, signal.SIGTERM: signal.SIGTERM}
"""Signals, and as what the process that works gets them."""
if hasattr(signal, "SIGHUP"):  # Windows has none
    PASSED_ON[signal.SIGHUP] = signal.SIGTERM  # a terminal that closes is no reason to lose an epoch

LATEST_SECONDS = 1.0
"""Until a signal is passed on that came in the moment before waiting began: Python hears of it when waiting ends."""

PR_SET_PDEATHSIG = 1
"""Of Linux' prctl."""


def is_worker() -> bool:
    """Whether this process is the one that works."""
    return STATE in os.environ


def is_alone() -> bool:
    """Whether this process does the work. On Windows none looks after it: the system does not say what ended one."""
    return is_worker() or sys.platform == "win32"


def supervise(command: Sequence[str]) -> int:
    """Start `command`, and again without the run that it was at whenever something kills it; its exit code.

    Signals are passed on. The command has a session of its own, so that a Ctrl-C reaches it once.
    """
    lost: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="cnn_jax_sweep_") as folder:
        state = Path(folder) / "state.json"
        while True:
            state.write_text(json.dumps({"running": None, "lost": lost}))
            code, passed_on = _run(command, {**os.environ, STATE: str(state)})
            running = json.loads(state.read_text())["running"]
            if code >= 0:
                return code
            if passed_on:
                return 128 - code
            name = signal.Signals(-code).name
            if running is None or running in lost:
                print(f"error: something ended the sweep ({name}); the same command goes on", file=sys.stderr)
                return EXIT_FAILED
            memory = ": most likely the machine has too little memory for it" if name == "SIGKILL" else ""
            lost[running] = f"something ended the process of this run ({name}){memory}"


def _run(command: Sequence[str], environment: dict[str, str]) -> tuple[int, bool]:
    """The return code, negative for a signal, and whether a signal was passed on."""
    passed_on, early = [], []
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, frame: FrameType | None) -> None:
        given = PASSED_ON[signal.Signals(number)]
        passed_on.append(given)
        if process is None:  # there is no one yet to pass it on to
            early.append(given)
        else:
            process.send_signal(given)

    nohup = getattr(signal, "SIGHUP", None)
    heard = [n for n in PASSED_ON if n != nohup or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heard}
    try:
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        for number in early:
            process.send_signal(number)
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(LATEST_SECONDS), bool(passed_on)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Have Linux send SIGTERM to this process where the one that supervises it is killed; nothing elsewhere."""
    if is_worker() and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def lost() -> dict[str, str]:
    """The directories of the runs that took their process with them, and what is known of it."""
    return _state()["lost"] if is_worker() else {}


def at(directory: str | None) -> None:
    """Say which run this process is at; None: at none that could be named."""
    if is_worker():
        write_atomically(Path(os.environ[STATE]), json.dumps({**_state(), "running": directory}))


def _state() -> dict[str, Any]:
    return json.loads(Path(os.environ[STATE]).read_text())
