"""Keras itself, where it is run."""

from typing import Any

from cnn_jax.errors import WeightsError
from cnn_jax.io.tensorflow import tf


def import_keras(purpose: str) -> Any:
    """The module; `purpose` is what its error begins with, as in "the comparison".

    Raises:
        WeightsError: it is not installed.
    """
    tf()  # before Keras, so that it stays off accelerators
    try:
        import keras
    except ImportError as error:
        raise WeightsError(f"{purpose} runs Keras itself, which is not installed: pip install keras") from error
    return keras
