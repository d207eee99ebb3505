"""What runs in one process have in common and is made once: the list of images, decoded images, kept features.

A run alone has one for its own phases; a sweep hands the same one to all of its runs.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import in_memory
from cnn_jax.training.feature_cache import Features, Plan

Made = TypeVar("Made")


@dataclass(frozen=True)
class Kept:
    """The features of the images of two splits."""

    identity: str
    """Of all that they depend on besides the images; see `Shared.nearest`."""
    plan: Plan
    training: Split
    validation: Split
    features: Features

    def is_of(self, training: Split, validation: Split) -> bool:
        """Whether the images are those of these splits."""
        return _same(self.training, training) and _same(self.validation, validation)


@dataclass
class Shared:
    """Made once, for as long as it lives; what it keeps in memory stays within the budgets of the configuration."""

    _made: dict[Hashable, Any] = field(default_factory=dict)
    _decoded: dict[str, tuple[Split, Resize, Split]] = field(default_factory=dict)
    _features: list[Kept] = field(default_factory=list)
    """The ones used last at the end."""

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gave at the first call with this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def in_memory(self, name: str, split: Split, resize: Resize, budget: int) -> Split:
        """`cnn_jax.data.stream.in_memory`, once for the same images; of each name, one split is kept."""
        found = self.decoded(name, split, resize)
        if found is split:
            self._decoded.pop(name, None)
            found = in_memory(split, resize, budget)
            if found is not split:
                self._decoded[name] = split, resize, found
        return found

    def decoded(self, name: str, split: Split, resize: Resize) -> Split:
        """The same examples with the images that `in_memory` keeps of them; `split` itself where it keeps none."""
        before, size, found = self._decoded.get(name, (split, resize, split))
        return found if size == resize and _same(before, split) else split

    def nearest(
        self, plan: Plan, identity: Callable[[int], str], training: Split, validation: Split, exact: bool, budget: float
    ) -> Kept | None:
        """Features of these images by the same layers, or by as many of the first of them as there are.

        Args:
            identity: of what the output of so many first layers depends on, besides the images.
            exact: whether features hold all digits of what the layers put out, so that one can go on from them.
            budget: MB of features in memory: the ones that are wanted have to find room beside those to go on from.
        """

        def fits(kept: Kept) -> bool:
            if kept.plan.layers == plan.layers:
                return True
            return exact and kept.plan.layers < plan.layers and _megabytes(kept.plan) + _megabytes(plan) <= budget

        usable = [
            kept
            for kept in self._features
            if kept.plan.dtype == plan.dtype
            and fits(kept)
            and kept.identity == identity(kept.plan.layers)
            and kept.is_of(training, validation)
        ]
        nearest = max(usable, key=lambda kept: kept.plan.layers, default=None)
        if nearest is not None:
            self._features.remove(nearest)
            self._features.append(nearest)
        return nearest

    def make_room(self, plan: Plan, budget: float) -> None:
        """Let go of the features unused for longest until those of `plan` find room in so many MB."""
        while self._features and sum(_megabytes(kept.plan) for kept in self._features) + _megabytes(plan) > budget:
            self._features.pop(0)

    def keep(self, kept: Kept) -> None:
        """Keep features, for which there is room."""
        self._features.append(kept)


def _megabytes(plan: Plan) -> float:
    """What the features take of the memory."""
    return plan.megabytes if plan.in_memory else 0.0


def _same(one: Split, other: Split) -> bool:
    """Whether two splits of one data set are of the same examples."""
    if one is other:
        return True
    if len(one) != len(other) or not np.array_equal(one.labels, other.labels):
        return False
    return all(first == second for first, second in zip(one.ids, other.ids, strict=True))
