"""What Orbax leaves behind where it fails to read a checkpoint."""

import asyncio
import contextlib
import gc
import inspect
from types import CoroutineType
from typing import Any


def end_unfinished() -> None:
    """End what Orbax leaves where reading fails: coroutines that were never begun, and tasks of a loop that is closed.

    Otherwise whoever collects them later, anywhere in the program, is told of their errors.
    """
    for found in gc.get_objects():
        if isinstance(found, asyncio.Task) and not found.done() and found.get_loop().is_closed():
            found._log_destroy_pending = False  # type: ignore[attr-defined]  # it is ended here, not forgotten
            _close(found.get_coro())
        elif isinstance(found, CoroutineType) and _never_begun(found):
            _close(found)


def _never_begun(coroutine: "CoroutineType[Any, Any, Any]") -> bool:
    reads = "/orbax/checkpoint/" in coroutine.cr_code.co_filename and "load" in coroutine.__qualname__
    return reads and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


def _close(coroutine: Any) -> None:
    with contextlib.suppress(Exception):  # of its own last steps: the error that counts is known
        coroutine.close()
