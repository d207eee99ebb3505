"""Learning curves: loss, accuracy and learning rate over the epochs, as drawings and as a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnn_jax.report.charts import Axis, counting_axis, fitted_axis, polyline
from cnn_jax.report.record import CONFIG, METRICS, RESULT, Form, Number, Record, count, decimals, percent, scientific

FRAME = 420, 244, 50, 408, 18, 210
"""Width, height, and the edges of what is drawn (left, right, top, bottom), in the SVG's own units."""
_, _, LEFT, RIGHT, TOP, BOTTOM = FRAME
MARKED_EPOCHS = 40
"""Up to how many epochs each of them is a dot."""

Column = tuple[str, str, str, Form]
"""Name, split and key of what is written for each epoch, and how it is written."""

COLUMNS: tuple[Column, ...] = (
    ("training loss", "train", "loss", decimals),
    ("validation loss", "validation", "loss", decimals),
    ("training accuracy", "train", "accuracy", percent),
    ("validation accuracy", "validation", "accuracy", percent),
    ("learning rate", "train", "learning_rate", scientific),
    ("L2 term", "train", "l2", scientific),
    ("iterations", "train", "iterations", count),
)


@dataclass(frozen=True)
class Epoch:
    """A row of the table."""

    epoch: Number
    values: tuple[Number, ...]
    is_best: bool
    is_head: bool
    """Whether the classifier alone trained."""


@dataclass(frozen=True)
class Line:
    """One curve."""

    kind: str
    """Its class: the split (training is solid with dots, validation dashed with squares), or the run among others."""
    points: str
    markers: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """One drawing."""

    title: str
    description: str
    """In words, for those who do not see it."""
    y: Axis
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Curves:
    """The section."""

    columns: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    x: Axis
    charts: tuple[Chart, ...]
    best: float | None
    """Where the best epoch is."""
    head: float | None
    """Where the epochs of the classifier alone end."""
    frame: tuple[int, ...] = FRAME


def curves(record: Record) -> Curves | None:
    """The learning curves; None without metrics.jsonl."""
    # a classifier that is solved has no learning rate, one that is trained no L2 term; some runs have no validation
    there = {(line["split"], key) for line in record.get(METRICS) or [] for key in line}
    columns = [column for column in COLUMNS if column[1:3] in there]
    epochs = _epochs(record, columns)
    if not epochs:
        return None
    x = counting_axis(len(epochs), LEFT + 10, RIGHT - 10)
    titles = ("loss", "accuracy", "learning rate")
    charts = tuple(_chart(title, columns, epochs, x) for title in titles if any(title in name for name, *_ in columns))
    best = next((x.at(i) for i, epoch in enumerate(epochs, 1) if epoch.is_best), None)
    heads = sum(epoch.is_head for epoch in epochs)
    step = (x.end - x.start) / max(len(epochs) - 1, 1)
    head = min(x.at(heads) + step / 2, RIGHT) if heads else None
    return Curves(tuple(name for name, *_ in columns), epochs, x, charts, best, head)


def _epochs(record: Record, columns: Sequence[Column]) -> tuple[Epoch, ...]:
    lines = {(line["epoch"], line["split"]): i for i, line in enumerate(record.get(METRICS) or [])}
    best, heads = record.get(RESULT, "best", "epoch"), record.get(CONFIG, "train", "head_epochs")
    splits = {split for _, split, *_ in columns}
    return tuple(
        Epoch(
            record.number(count, METRICS, lines[epoch, "train"], "epoch"),
            tuple(record.number(form, METRICS, lines[epoch, split], key) for _, split, key, form in columns),
            epoch == best,
            epoch <= heads,
        )
        for epoch in sorted({epoch for epoch, split in lines if split == "train"})
        if all((epoch, split) in lines for split in splits)
    )


def _chart(title: str, columns: Sequence[Column], epochs: tuple[Epoch, ...], x: Axis) -> Chart:
    series = {
        split: [math.nan if epoch.values[i].value is None else float(epoch.values[i].value) for epoch in epochs]
        for i, (name, split, _, _) in enumerate(columns)
        if name.endswith(title)
    }
    y = fitted_axis([value for values in series.values() for value in values], BOTTOM, TOP)
    lines = tuple(_line(split, values, x, y) for split, values in series.items())
    words = (
        f"{name} from {epochs[0].values[i].text} to {epochs[-1].values[i].text}"
        for i, (name, *_) in enumerate(columns)
        if name.endswith(title)
    )
    return Chart(title, f"Over {len(epochs)} epochs: {', '.join(words)}.", y, lines)


def _line(split: str, values: list[float], x: Axis, y: Axis) -> Line:
    places = [(x.at(i), y.at(value)) for i, value in enumerate(values, 1) if math.isfinite(value)]
    return Line(split, polyline(places), tuple(places) if len(values) <= MARKED_EPOCHS else ())
