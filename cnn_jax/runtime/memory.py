"""Too little memory on a device: one message with what is needed, what there is and the flags that help."""

import contextlib
import re
from collections.abc import Callable, Generator

import jax

from cnn_jax.config import Config
from cnn_jax.config.image_size import as_flag, of_sides, sides
from cnn_jax.errors import RunFailed

EXHAUSTED = "RESOURCE_EXHAUSTED"
"""How XLA's errors of this kind begin, on every device."""
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
ASKED = re.compile(r"(\d+) bytes|(?:Used|for|allocate) (\d+(?:\.\d+)?)([KMGT])")
"""Of CPUs and GPUs: `Out of memory allocating 1024 bytes`, `allocate 1.5GiB`; of TPUs: `Used 17.2G of 15.5G hbm`."""
SMALLEST_IMAGE = 32
"""Rows below which no smaller image is proposed."""

Bytes = Callable[[], int | None]


def is_exhausted(error: BaseException) -> bool:
    """Whether XLA says that a device has no memory left, when it compiles or runs."""
    return isinstance(error, jax.errors.JaxRuntimeError) and EXHAUSTED in str(error)


def needed_and_there(error: BaseException, step: int | None = None) -> str:
    """What XLA asked for at once, what a whole step needs (bytes, by its program), and what the device has."""
    device, parts = jax.local_devices()[0], []
    if found := ASKED.search(str(error)):
        count, number, unit = found.groups()
        parts.append(f"XLA asked for {_gigabytes(int(count) if count else float(number) * UNITS[unit])}")
    if step is not None:
        parts.append(f"a training step needs {_gigabytes(step)}")
    if there := (device.memory_stats() or {}).get("bytes_limit"):
        parts.append(f"it has {_gigabytes(there)}")
    return f"{device.device_kind} has too little memory" + (f": {', '.join(parts)}" if parts else "")


@contextlib.contextmanager
def explained(config: Config, what: str, step: Bytes, newest: Bytes) -> Generator[None, None, None]:
    """While devices work: RunFailed in the place of XLA's error.

    Args:
        what: is going on.
        step: what the program of a training step needs, as far as it is known by then.
        newest: the step of the newest checkpoint.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_exhausted(error):
            raise
        saved = newest()
        good = "Nothing was saved yet" if saved is None else f"The newest checkpoint, of step {saved}, is good"
        raise RunFailed(
            f"{what}: {needed_and_there(error, step())}.\n"
            f"  {good}. Each of these takes less, in a new --workdir: {', '.join(_remedies(config))}"
        ) from error


def _remedies(config: Config) -> list[str]:
    """Flags that about halve what a step needs, the validation's among them."""
    batch, parts, size = config.data.batch_size, config.optimizer.microbatches, config.model.image_size
    half = [round(side / 2**0.5 / SMALLEST_IMAGE) * SMALLEST_IMAGE for side in sides(size)]  # of the pixels
    found = []
    if batch % (2 * parts) == 0:
        found.append(f"--optimizer.microbatches={2 * parts} (the same batch in {2 * parts} parts)")
    if batch > 1:
        found.append(f"--data.batch_size={batch // 2} (now {batch})")
    if config.train.precision != "bfloat16":
        found.append("--train.precision=bfloat16")
    if min(half) >= SMALLEST_IMAGE and tuple(half) != sides(size):
        found.append(f"--model.image_size={as_flag(of_sides(*half))} (now {as_flag(size)})")
    if config.data.eval_batch_size > 1:
        found.append(f"for the validation --data.eval_batch_size={config.data.eval_batch_size // 2}")
    return found


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:,.2f} GB"
