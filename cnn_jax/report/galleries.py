"""The confusion matrix and the photographs in its cells."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Split
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.report import pictures
from cnn_jax.report.pictures import Picture
from cnn_jax.report.record import Number, Record, computed, count, percent

LARGEST_MATRIX = 30
"""Classes up to which the whole matrix is shown; of more, the most confused pairs."""
PAIRS = 40
"""How many pairs that is."""
PHOTOGRAPHS_PER_CELL = 24
PHOTOGRAPHS = 600
"""In all cells together, at most."""
BUDGET = 2_500_000
"""Characters that their pictures may take, so that the page stays below 5 MB."""
THUMBNAIL = 128
"""Pixels of the longer side."""


@dataclass(frozen=True)
class Photograph:
    """One example and what the network says of it."""

    id: str
    true: str
    predicted: str
    probability: Number
    """Of the predicted class."""
    true_probability: Number
    picture: Picture


@dataclass(frozen=True)
class Cell:
    """The examples of one true class that were taken for one class."""

    key: str
    true: str
    predicted: str
    is_right: bool
    count: Number
    share: float
    """Of the examples of the true class."""
    photographs: tuple[Photograph, ...]


@dataclass(frozen=True)
class Confusion:
    """The section: the rows of the matrix, or the most confused pairs where it would be too large."""

    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Name of the true class, and a cell for each class; empty where only pairs are shown."""
    pairs: tuple[Cell, ...]
    all_pairs: int
    """How many pairs of different classes were confused at all."""

    @property
    def galleries(self) -> tuple[Cell, ...]:
        """The cells that open: those with examples."""
        cells = (*(cell for _, row in self.rows for cell in row), *self.pairs)
        return tuple(cell for cell in cells if cell.count.value)


class Describer:
    """Says of an example what the network says of it."""

    def __init__(self, examples: Split, predictions: Predictions, classes: tuple[str, ...]) -> None:
        self._ids, self._predictions, self._classes = examples.ids, predictions, classes
        self.labels, self.predicted, self.right = predictions.labels, predictions.predicted, predictions.right
        self.confidence = predictions.probability_of(predictions.predicted)
        """float64[n]: the probability of the predicted class."""

    def photograph(self, index: int, picture: Picture) -> Photograph:
        """The example at this place of the split."""
        true = self.labels[index]
        return Photograph(
            self._ids[index],
            self._classes[true],
            self._classes[self.predicted[index]],
            computed(percent, float(self.confidence[index])),
            computed(percent, float(self._predictions.probabilities[index, true])),
            picture,
        )


def confusion(record: Record, examples: Split, describer: Describer, resize: Resize) -> Confusion:
    """The confusion matrix with as many photographs in its cells as the page has room for."""
    classes = tuple(record.get(record.evaluation, "classes"))
    matrix = np.asarray(record.get(record.evaluation, "confusion_matrix"))
    wrong = [(int(i), int(j)) for i, j in np.argwhere(matrix) if i != j]
    wrong.sort(key=lambda cell: (-matrix[cell], cell))
    few = len(classes) <= LARGEST_MATRIX
    shown = [(i, j) for i in range(len(classes)) for j in range(len(classes))] if few else wrong[:PAIRS]
    chosen = {cell: _members(describer, *cell) for cell in shown if matrix[cell]}
    photographs = _photographs(chosen, examples, describer, resize)

    def cell(true: int, predicted: int) -> Cell:
        return Cell(
            f"cell-{true}-{predicted}",
            classes[true],
            classes[predicted],
            true == predicted,
            record.measured(count, "confusion_matrix", true, predicted),
            float(matrix[true, predicted] / max(matrix[true].sum(), 1)),
            tuple(photographs.get((true, predicted), ())),
        )

    if few:
        columns = range(len(classes))
        rows = tuple((name, tuple(cell(true, column) for column in columns)) for true, name in enumerate(classes))
        return Confusion(classes, rows, (), len(wrong))
    return Confusion(classes, (), tuple(cell(*place) for place in shown), len(wrong))


def _members(describer: Describer, true: int, predicted: int) -> list[int]:
    """The examples of a cell that may be shown: the surest mistakes first, or the least sure of the right ones."""
    members = np.flatnonzero((describer.labels == true) & (describer.predicted == predicted))
    sign = 1 if true == predicted else -1
    order = np.argsort(sign * describer.confidence[members], kind="stable")
    return [int(index) for index in members[order[:PHOTOGRAPHS_PER_CELL]]]


def _photographs(
    cells: Mapping[tuple[int, int], Sequence[int]], examples: Split, describer: Describer, resize: Resize
) -> dict[tuple[int, int], list[Photograph]]:
    """Fill the cells in turn, the mistakes before the right ones, until there is no more room."""
    order = sorted(
        (rank, cell[0] == cell[1], cell, index) for cell, members in cells.items() for rank, index in enumerate(members)
    )[:PHOTOGRAPHS]
    found: dict[tuple[int, int], list[Photograph]] = {}
    used = 0
    with contextlib.closing(pictures.load(examples, [index for *_, index in order], resize)) as images:
        for (_, _, cell, index), pixels in zip(order, images, strict=True):
            small = pictures.picture(pixels, THUMBNAIL)
            used += len(small.address)
            if used > BUDGET:
                break
            found.setdefault(cell, []).append(describer.photograph(index, small))
    return found
