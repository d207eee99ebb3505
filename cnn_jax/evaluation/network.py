"""What a classifier asks for probabilities: the layers of this package, or the runtime of an exported file."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from cnn_jax.runtime.compiling import jit


class Network(Protocol):
    """Images of one size to probabilities."""

    def probabilities(self, images: np.ndarray) -> np.ndarray | jax.Array:
        """Images uint8[b, s, s, 3] to float32[b, classes], for any b."""

    def compile(self) -> None:
        """Do what the first image would wait for."""


@dataclass(frozen=True)
class LayeredNetwork:
    """Layers and their weights, run by JAX."""

    model: Model
    variables: Variables

    def probabilities(self, images: np.ndarray) -> jax.Array:
        return self._jitted(self.variables, images)

    def compile(self) -> None:
        """Compile what one image takes, for the cache of compiled programs: the next process finds it there."""
        size = self.model.image_size
        self._jitted.lower(self.variables, np.zeros((1, size, size, 3), np.uint8)).compile()

    def with_features(self, images: np.ndarray) -> jax.Array:
        """Probabilities, and beside them what the classifier is given: float32[b, classes + d]."""
        return self._with_features(self.variables, images)

    @cached_property
    def _with_features(self) -> Any:
        start = len(self.model.layers) - 1
        features, end = self.model.part(0, start), self.model.part(start)

        def both(variables: Variables, images: jax.Array) -> jax.Array:
            given = features.outputs(variables, images)
            rows = given.reshape(len(images), -1).astype(jnp.float32)
            return jnp.concatenate([end.probabilities(variables, given), rows], axis=-1)

        return jit(both)

    @cached_property
    def _jitted(self) -> Any:
        return jit(self.model.probabilities)
