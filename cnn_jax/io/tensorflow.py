"""TensorFlow, imported on first use and kept off accelerators: JAX owns those."""

import contextlib
import functools
import os
import re
from collections.abc import Generator
from typing import Any

from cnn_jax.errors import DataError

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"
"""Environment variable of TensorFlow's; it is read at the import, and again when `tf.keras` is first used."""


@functools.cache
def tf() -> Any:
    """The `tensorflow` module, restricted to the CPU and quiet.

    Raises:
        DataError: it is not installed.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # which JAX sets where it is loaded first
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # a damaged image is an exception as well
    os.environ.setdefault("GCS_STAT_CACHE_MAX_AGE", "0")  # what other processes write to gs:// is seen at once
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it speeds up no image operation, and announces itself
    try:
        with _without_keras():
            import tensorflow
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise DataError(
            "TensorFlow reads streams of images and gs://, and is not installed: pip install 'cnn_jax[tensorflow]'"
        ) from error

    for kind in ("GPU", "TPU"):
        tensorflow.config.set_visible_devices([], kind)
    return tensorflow


@contextlib.contextmanager
def _without_keras() -> Generator[None, None, None]:
    """TensorFlow's import loads Keras, a quarter of its time, unless it is told that an older one is asked for.

    What is asked for later, `tf.keras` by a program of the user's, is loaded as ever.
    """
    if LEGACY_KERAS in os.environ:
        yield
        return
    os.environ[LEGACY_KERAS] = "1"
    try:
        yield
    finally:
        del os.environ[LEGACY_KERAS]


def read_errors() -> tuple[type[Exception], ...]:
    """What an operation raises that fails on some input."""
    return tf().errors.OpError, UnicodeDecodeError  # the second where its message would quote bytes that are no text


def first_line(error: Exception) -> str:
    """The first line of a TensorFlow error, without the names of the graph's nodes."""
    line = re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:.*", "", str(getattr(error, "message", error))).splitlines()[0]
    return re.sub(r"^assertion failed: \[(.*)\]$", r"\1", line)
