"""Keras' own files, `.keras` and `.h5`, in Keras."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from cnn_jax.config.image_size import of_sides
from cnn_jax.errors import WeightsError
from cnn_jax.weights.keras_library import import_keras


class KerasNetwork:
    """A whole model of this package's, loaded by Keras itself. `cnn_jax.load` reads such files without it."""

    def __init__(self, path: Path) -> None:
        """Load it."""
        self.path, self._model = path, load(path)
        _, height, width, self._channels = self._model.inputs[0].shape
        self.image_size = of_sides(height, width)
        self.classes = self._model.outputs[0].shape[1]

    def __str__(self) -> str:
        return str(self.path)

    def probabilities(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b classes"]:
        """Of images of 0 to 255."""
        import jax.numpy as jnp

        from cnn_jax.models.normalisation import grey

        if self._channels == 1:  # such a network takes grey images alone
            images = np.asarray(grey(jnp.asarray(images)))
        return np.asarray(self._model.predict_on_batch(images.astype(np.float32)))

    def compile(self) -> None:
        """There is nothing to wait for."""


def load(path: Path) -> Any:
    """The model as Keras loads it.

    Raises:
        WeightsError: Keras is not installed, or does not load it.
    """
    keras = import_keras(str(path))
    try:
        return keras.models.load_model(str(path), compile=False)
    except Exception as error:  # by what does not fit, of many kinds
        reason = str(error).splitlines()[0][:300]
        raise WeightsError(f"{path}: Keras {keras.__version__} cannot load it: {reason}") from error
