"""Systems other than Linux, as far as they can be had here: the names that they lack are taken away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cnn_jax
from cnn_jax.sweeping import supervision

LIKE_WINDOWS = """
import importlib, os, pkgutil, signal, sys
from pathlib import Path
import jax, matplotlib.pyplot, orbax.checkpoint, scipy.stats, sklearn.metrics, tensorflow, tyro  # which know it

for module, names in {
    signal: ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGALRM", "SIGCHLD", "pthread_sigmask", "setitimer"),
    os: ("pread", "pwrite", "fork", "getuid", "setsid", "killpg", "mkfifo", "sched_getaffinity", "uname"),
}.items():
    for name in names:
        delattr(module, name)
sys.modules["fcntl"] = sys.modules["resource"] = None
import cnn_jax

for found in pkgutil.walk_packages(cnn_jax.__path__, "cnn_jax."):
    if not found.name.startswith("cnn_jax.experiments"):
        importlib.import_module(found.name)
sys.platform = "win32"
from cnn_jax.runtime import clock, distributed
from cnn_jax.training.run.interrupts import Interrupts
from cnn_jax.training.run.lock import FILE, Lock

with Lock(Path(sys.argv[1])) as lock, Interrupts():
    lock.take()
    assert (Path(sys.argv[1]) / FILE).read_text().startswith(f"process {os.getpid()} on ")
assert clock.process_age() == 0
distributed._explain_aborts()
print("all of it")
"""


@pytest.mark.long
def test_nothing_needs_what_windows_lacks(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cnn_jax.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", LIKE_WINDOWS, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "all of it\n", done.stderr


@pytest.mark.parametrize(("platform", "alone"), [("linux", False), ("darwin", False), ("win32", True)])
def test_a_sweep_is_looked_after_where_the_system_says_what_ended_a_process(
    monkeypatch: pytest.MonkeyPatch, platform: str, alone: bool
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert supervision.is_alone() is alone
    monkeypatch.setenv(supervision.STATE, "state.json")
    assert supervision.is_alone()
