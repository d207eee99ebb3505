"""TensorFlow, imported on first use and kept off accelerators: JAX owns those."""

import functools
import os
from typing import Any


@functools.cache
def tf() -> Any:
    """The `tensorflow` module, restricted to the CPU and quiet."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # which JAX sets where it is loaded first
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # a damaged image is an exception as well
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # it speeds up no image operation, and announces itself
    import tensorflow

    for kind in ("GPU", "TPU"):
        tensorflow.config.set_visible_devices([], kind)
    return tensorflow


def read_errors() -> tuple[type[Exception], ...]:
    """What an operation raises that fails on some input."""
    return tf().errors.OpError, UnicodeDecodeError  # the second where its message would quote bytes that are no text
