"""What the processes of a run tell each other: who writes, which errors stop all of them, what they must have alike.

A process alone passes through all of it without a cost. Every function here that talks to the others must be called
by all of them, in the same order.
"""

import contextlib
import hashlib
import json
from collections.abc import Generator

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from cnn_jax import errors
from cnn_jax.errors import ConfigError, RunFailed, UserError
from cnn_jax.training.run.mesh import Mesh

LONGEST_TEXT = 4096
"""Bytes of a text that a process tells the others."""


def is_main() -> bool:
    """Whether this process is the one that prints and writes; the only one of a process alone."""
    return jax.process_index() == 0


def gather(text: str) -> list[str]:
    """A text of every process, of `LONGEST_TEXT` bytes at most, in their order; also a barrier."""
    if jax.process_count() == 1:
        return [text]
    line = np.zeros(LONGEST_TEXT, np.uint8)
    content = text.encode()
    line[: len(content)] = np.frombuffer(content, np.uint8)
    lines = multihost_utils.process_allgather(line)
    return [row.tobytes().rstrip(b"\0").decode() for row in lines]


def all_of_them(holds: bool) -> bool:
    """Whether it holds in every process."""
    return all(gather("x" if holds else ""))


def told_as(error: Exception) -> str:
    """Kind and message of an error as JSON, which has up to twelve bytes for a character, with the end cut off."""
    message = str(error)
    while len(told := json.dumps([type(error).__name__, message])) > LONGEST_TEXT:
        message = message[: len(message) * 3 // 4]
    return told


@contextlib.contextmanager
def fail_together() -> Generator[None, None, None]:
    """Work that may fail in one process alone, such as reading files: then it fails in all of them. Also a barrier.

    Nothing inside may wait for the other processes.
    """
    if jax.process_count() == 1:
        yield
        return
    failed: Exception | None = None
    try:
        yield
    except (UserError, RunFailed, OSError) as error:
        failed = error
    told = gather("" if failed is None else told_as(failed))
    if failed is not None:
        raise failed
    for number, other in enumerate(told):
        if other:
            name, message = json.loads(other)
            raise getattr(errors, name, RunFailed)(f"in process {number}: {message}")


def require_alike(values: dict[str, str]) -> None:
    """Raise ConfigError where a process has another value than process 0, naming what it is."""
    own = {name: hashlib.sha256(value.encode()).hexdigest()[:16] for name, value in values.items()}
    first, *others = (json.loads(text) for text in gather(json.dumps(own)))
    for number, other in enumerate(others, start=1):
        for name in first:
            if other[name] != first[name]:
                raise ConfigError(f"process {number} has another {name} than process 0: give all of them the same")


class Vote:
    """The largest of the numbers that the processes call it with, told to all of them at their next call.

    Nothing waits for the devices: what is returned was reduced beside the step before. A process alone gets its own
    number at once.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh, self._pending = mesh, None
        self._largest = jax.jit(jnp.max, out_shardings=mesh.replicated)

    def __call__(self, number: int) -> int:
        """Vote for `number`, 0 or more."""
        if self._mesh.processes == 1:
            return number
        told = 0 if self._pending is None else int(self._pending)
        votes = np.full(jax.local_device_count(), number, np.int32)
        self._pending = None if told else self._largest(self._mesh.put_batch(votes))
        return told
