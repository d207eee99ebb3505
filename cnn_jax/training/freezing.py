"""Which parameters train: a partition of the parameter tree, and the proof that the frozen part stayed as it was."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from cnn_jax.models.model import Model

Layers = dict[str, dict[str, jax.Array]]
"""{layer: {leaf: array}}"""


@dataclass(frozen=True)
class Freezing:
    """The layers that stay as they are: no gradient, no optimizer state, batch norm and dropout as in inference."""

    layers: frozenset[str]

    @classmethod
    def until(cls, model: Model, layer: str) -> "Freezing":
        """Freeze the layers before `layer`: a layer's name, `head` or `none`.

        Raises:
            ConfigError: no layer of the model has that name.
        """
        return cls(frozenset(model.layers_before(layer, "train.freeze_until")))

    def split(self, params: Mapping[str, Any]) -> tuple[Layers, Layers]:
        """The trainable and the frozen part of a tree of layers."""
        trainable = {layer: leaves for layer, leaves in params.items() if layer not in self.layers}
        return trainable, {layer: leaves for layer, leaves in params.items() if layer in self.layers}

    def digest(self, params: Mapping[str, Any], batch_stats: Mapping[str, Any]) -> str:
        """SHA-256 over the names, shapes and bytes of all frozen parameters and statistics."""
        return digest({"params": self.split(params)[1], "batch_stats": self.split(batch_stats)[1]})


def digest(tree: Any) -> str:
    """SHA-256 over the paths, dtypes, shapes and bytes of a tree's arrays."""
    total = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)):
        array = np.asarray(leaf)
        total.update(f"{path} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def count(layers: Mapping[str, Collection[Any]] | Any) -> int:
    """The number of scalars in a tree."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(layers))
