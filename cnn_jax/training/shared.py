"""What runs in one process have in common and is made once: the list of images, and decoded images.

A run alone has one for its own phases; a sweep hands the same one to all of its runs.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import in_memory

Made = TypeVar("Made")


@dataclass
class Shared:
    """Made once, for as long as it lives; decoded images stay within the budget of the configuration."""

    _made: dict[Hashable, Any] = field(default_factory=dict)
    _decoded: dict[str, tuple[Split, Resize, Split]] = field(default_factory=dict)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gave at the first call with this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def in_memory(self, name: str, split: Split, resize: Resize, budget: int, disk_megabytes: float) -> Split:
        """`cnn_jax.data.stream.in_memory`, once for the same images; of each name, one split is kept."""
        found = self.decoded(name, split, resize)
        if found is split:
            self._decoded.pop(name, None)
            found = in_memory(split, resize, budget, disk_megabytes)
            if found is not split:
                self._decoded[name] = split, resize, found
        return found

    def decoded(self, name: str, split: Split, resize: Resize) -> Split:
        """The same examples with the images that `in_memory` keeps of them; `split` itself where it keeps none."""
        before, size, found = self._decoded.get(name, (split, resize, split))
        return found if size == resize and _same(before, split) else split


def _same(one: Split, other: Split) -> bool:
    """Whether two splits of one data set are of the same examples."""
    if one is other:
        return True
    if len(one) != len(other) or not np.array_equal(one.labels, other.labels):
        return False
    return all(first == second for first, second in zip(one.ids, other.ids, strict=True))
