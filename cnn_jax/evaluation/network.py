"""What a classifier asks for probabilities: the layers of this package, or the runtime of an exported file."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jax
import numpy as np

from cnn_jax.compiling import jit
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model


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

    @cached_property
    def _jitted(self) -> Any:
        return jit(self.model.probabilities)
