"""What the readers of weights files share: the names of this package's leaves, and the checks on every array."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cnn_jax.errors import WeightsError
from cnn_jax.weights.readers.hdf5 import Array, Group

Leaves = dict[str, dict[str, dict[str, Float[np.ndarray, "..."]]]]
"""{"params" or "batch_stats": {layer: {leaf: array}}}"""

RULES = {
    "kernel": ("params", "kernel"),
    "depthwise_kernel": ("params", "kernel"),
    "bias": ("params", "bias"),
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
    "W_1": ("params", "kernel"),  # the VGG files of 2016: block1_conv1_W_1:0, block1_conv1_b_1:0
    "b_1": ("params", "bias"),
}
"""Keras' name of a weight to this package's collection and leaf."""


class NoRule(WeightsError):  # noqa: N818  (named for what it says)
    """An array is of a layer that no rule reads."""


@dataclass
class LeafCollector:
    """Gathers the arrays of one file, each checked."""

    path: Path
    leaves: Leaves = field(default_factory=lambda: {"params": {}, "batch_stats": {}})
    _places: set[int] = field(default_factory=set)

    def add(
        self,
        layer: str,
        weight: str,
        rule: tuple[str, str],
        item: Group | Array,
        change: Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]] = lambda array: array,
    ) -> None:
        """Take the array of the file's `weight`, changed, as the leaf of `rule` in `layer`.

        Of float16, it becomes float32, exactly.

        Raises:
            WeightsError: no array, another name for one, not finite, a second for the same leaf, or see `Array.values`.
        """
        if not isinstance(item, Array):
            raise WeightsError(f"{self.path}: {item.name} is no array")
        if item.address in self._places:  # a small file with many names for one array would fill the memory
            raise WeightsError(f"{self.path}: {weight} of {layer} is another name for an array that was read already")
        self._places.add(item.address)
        (collection, leaf), array = rule, item.values()
        if not np.isfinite(array).all():
            raise WeightsError(f"{self.path}: {weight} holds values that are not finite numbers; fetch the file again")
        leaves = self.leaves[collection].setdefault(layer, {})
        if leaf in leaves:
            raise WeightsError(f"{self.path}: layer {layer} has two weights for {leaf}")
        leaves[leaf] = change(array.astype(np.float32) if array.dtype == np.float16 else array)
