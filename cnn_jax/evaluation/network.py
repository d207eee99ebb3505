"""What a classifier asks for probabilities: the layers of this package, or the runtime of an exported file."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from cnn_jax.runtime.compiling import jit


class Network(Protocol):
    """Images of one size to probabilities."""

    def probabilities(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray | Array, "b classes"]:
        """Of images of 0 to 255, for any number of them."""

    def compile(self) -> None:
        """Do what the first image would wait for."""


@dataclass(frozen=True)
class LayeredNetwork:
    """Layers and their weights, run by JAX."""

    model: Model
    variables: Variables

    def probabilities(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[Array, "b classes"]:
        return self._jitted(self.variables, images)

    def compile(self) -> None:
        """Compile what one image takes, for the cache of compiled programs: the next process finds it there."""
        self._jitted.lower(self.variables, np.zeros((1, *self.model.image_shape), np.uint8)).compile()

    def with_features(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[Array, "b classes_d"]:
        """Probabilities, and beside them what the classifier is given."""
        return self._with_features(self.variables, images)

    @cached_property
    def _with_features(self) -> Any:
        start = len(self.model.layers) - 1
        features, end = self.model.part(0, start), self.model.part(start)

        def both(variables: Variables, images: UInt8[Array, "b h w 3"]) -> Float32[Array, "b classes_d"]:
            given = features.outputs(variables, images)
            rows = given.reshape(len(images), -1).astype(jnp.float32)
            return jnp.concatenate([end.probabilities(variables, given), rows], axis=-1)

        return jit(both)

    @cached_property
    def _jitted(self) -> Any:
        return jit(self.model.probabilities)
