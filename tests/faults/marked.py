"""Runs a command as `python -m cnn_jax.COMMAND` does, and tells through a pipe what it is doing.

    MARKS=FD python -m tests.faults.marked train --exp=…

Each line that it writes to the file descriptor is the name of what begins. Whoever reads them can kill the process in
the midst of that. Nothing of the package is changed but for the marks around its functions.
"""

import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

MARKS = int(os.environ["MARKS"])


def mark(name: str) -> None:
    os.write(MARKS, f"{name}\n".encode())


def around(owner: Any, function: str, name: str | Callable[..., str]) -> None:
    """Mark when a function begins and, by the name of what was going on before, when it ends."""
    original = getattr(owner, function)

    @functools.wraps(original)
    def marked(*args: Any, **kwargs: Any) -> Any:
        doing = name if isinstance(name, str) else name(*args)
        if doing == stack[-1] or threading.current_thread() is not threading.main_thread():
            return original(*args, **kwargs)
        stack.append(doing)
        mark(doing)
        try:
            return original(*args, **kwargs)
        finally:
            stack.pop()
            mark(stack[-1])

    setattr(owner, function, marked)


stack = ["import"]


def main() -> None:
    mark("import")
    command = importlib.import_module(f"cnn_jax.{sys.argv[1]}")
    from cnn_jax import report
    from cnn_jax.cli import command_line
    from cnn_jax.evaluation import record
    from cnn_jax.training import resume, run_evaluation, trained_run
    from cnn_jax.training.epochs import Epochs
    from cnn_jax.training.features.feature_cache import FeatureCache
    from cnn_jax.training.run.checkpoints import Checkpoints

    around(resume, "set_up", "setting up")
    around(resume, "newest_state", "restoring")
    around(trained_run, "load", "restoring")
    around(FeatureCache, "load", "caching features")
    around(Epochs, "train", "training")
    around(Epochs, "_advance", lambda epochs, *_: "training" if epochs._compiled is not None else "compiling")
    around(Epochs, "validate", "validating")
    around(Checkpoints, "save", "saving")
    around(run_evaluation, "predict_all", "evaluating")
    around(record, "write", "writing predictions")
    around(report, "after_training", "reporting")
    around(report, "attempt", "reporting")
    around(os, "replace", "renaming")
    del sys.argv[1]
    command_line.run(command.main)


if __name__ == "__main__":
    main()
