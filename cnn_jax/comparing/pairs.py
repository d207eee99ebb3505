"""Two runs at a time, on the images that both were measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from cnn_jax.comparing.runs import Compared
from cnn_jax.evaluation.comparison import compare, compare_losses, holm
from cnn_jax.evaluation.metrics import Predictions, losses
from cnn_jax.evaluation.record import Named

NAMED = 3
"""Of what differs, so many are named."""


@dataclass(frozen=True)
class Pair:
    """What one run does beside another."""

    first: Compared
    second: Compared
    reason: str = ""
    """Why they are not compared; empty where they are."""
    notes: tuple[str, ...] = ()
    """What has to be known with the figures."""
    found: dict[str, Any] | None = None
    """See `cnn_jax.evaluation.comparison.compare` and `compare_losses`: the first run is `this`."""
    adjusted: float | None = None
    """The p-value of McNemar's test, by Holm's method for as many tests as there are."""

    @property
    def names(self) -> str:
        """By the numbers of the runs."""
        return f"{self.first.number} - {self.second.number}"


def pairs(runs: Sequence[Compared]) -> tuple[Pair, ...]:
    """Every two runs that were measured, in order."""
    found = [_pair(*two) for two in combinations([run for run in runs if run.measured], 2)]
    tested = [pair for pair in found if pair.found is not None]
    adjusted = holm([pair.found["mcnemar_p_value"] for pair in tested if pair.found])
    by_pair = {id(pair): p for pair, p in zip(tested, adjusted, strict=True)}
    return tuple(replace(pair, adjusted=by_pair.get(id(pair))) for pair in found)


def _pair(first: Compared, second: Compared) -> Pair:
    reason = _incomparable(first, second)
    if reason:
        return Pair(first, second, reason)
    assert first.predictions is not None
    assert second.predictions is not None
    ours, theirs = _on_the_same(first.predictions, second.predictions)
    if not len(ours.labels):
        return Pair(first, second, "they have no image in common")
    if (ours.labels != theirs.labels).any():
        return Pair(first, second, f"{(ours.labels != theirs.labels).sum()} images have another class in the other run")
    found = {**compare(ours.right, theirs.right), **compare_losses(losses(ours), losses(theirs))}
    return Pair(first, second, notes=_notes(first, second, found["n"]), found=found)


def _incomparable(first: Compared, second: Compared) -> str:
    if first.predictions is None or second.predictions is None:
        return "predictions are missing"
    one, other = sorted(run.evaluated("dataset") for run in (first, second))
    if one != other:
        return f"they were measured on other images, {one} and {other}"
    ours, theirs = set(first.predictions.classes), set(second.predictions.classes)
    if ours != theirs:
        odd = sorted(ours ^ theirs)
        more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        return f"they tell other classes apart: {', '.join(odd[:NAMED])}{more} are in one of them alone"
    return ""


def _on_the_same(first: Named, second: Named) -> tuple[Predictions, Predictions]:
    """What both say of the images that both have, in the first one's order of images and classes."""
    place = {id_: index for index, id_ in enumerate(second.ids)}
    common = [(index, place[id_]) for index, id_ in enumerate(first.ids) if id_ in place]
    mine, its = (np.asarray(indices, np.int64) for indices in (zip(*common, strict=True) if common else ((), ())))
    order = np.asarray([second.classes.index(name) for name in first.classes])
    renamed = np.argsort(order)[second.predictions.labels]
    ours = Predictions(first.predictions.logits[mine], first.predictions.labels[mine])
    return ours, Predictions(second.predictions.logits[its][:, order], renamed[its])


def _notes(first: Compared, second: Compared, n: int) -> tuple[str, ...]:
    sizes = [run.evaluated("n") for run in (first, second)]
    notes = []
    if sizes != [n, n]:
        notes.append(f"on the {n} images that both have, of {sizes[0]} and {sizes[1]}")
    if first.evaluated("flip_averaging") != second.evaluated("flip_averaging"):
        notes.append("one of them has the mean over mirror images, the other has not")
    return tuple(notes)
