"""What becomes of a Keras layer: layers of this package, and where its arrays go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Num

from cnn_jax.models.layers import Layer


def as_stored(array: Num[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape"]:
    """An array that is kept here as in Keras."""
    return array


def as_depthwise(array: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
    """Keras' [kh, kw, c, m] as [kh, kw, 1, c * m]."""
    return array.reshape(*array.shape[:2], 1, -1) if array.ndim == 4 else array


@dataclass(frozen=True)
class Slot:
    """An array of a Keras layer, and where it goes."""

    names: tuple[str, ...]
    """What Keras' versions call it."""
    layer: str = ""
    collection: str = "params"
    leaf: str = ""
    """Empty: it counts something, and is not needed."""
    change: Callable[[Num[np.ndarray, "..."]], Num[np.ndarray, "..."]] = as_stored


@dataclass(frozen=True)
class Converted:
    """What became of a node."""

    layers: tuple[Layer, ...]
    """In order; none where it does nothing in inference."""
    slots: tuple[Slot, ...] = ()
    """Its arrays, in the order in which Keras keeps them."""
    axis: int | None = None
    """What has to be the last axis of its output, where the description counts from the first."""
    note: str = ""
    """What is left out."""


@dataclass
class Slots:
    """Gathers the arrays of one layer."""

    layer: str
    found: list[Slot] = field(default_factory=list)

    def add(self, names: str, leaf: str, collection: str = "params", change: Any = as_stored) -> None:
        self.found.append(Slot(tuple(names.split()), self.layer, collection, leaf, change))
