"""Learning curves: loss, accuracy and learning rate over the epochs, as drawings and as a table."""

import math
from dataclasses import dataclass

from cnn_jax.report.charts import Axis, counting_axis, fitted_axis, polyline
from cnn_jax.report.record import CONFIG, METRICS, RESULT, Form, Number, Record, count, decimals, percent, scientific

FRAME = 420, 244, 50, 408, 18, 210
"""Width, height, and the edges of what is drawn (left, right, top, bottom), in the SVG's own units."""
_, _, LEFT, RIGHT, TOP, BOTTOM = FRAME
MARKED_EPOCHS = 40
"""Up to how many epochs each of them is a dot."""

COLUMNS: tuple[tuple[str, str, str, Form], ...] = (
    ("training loss", "train", "loss", decimals),
    ("validation loss", "validation", "loss", decimals),
    ("training accuracy", "train", "accuracy", percent),
    ("validation accuracy", "validation", "accuracy", percent),
    ("learning rate", "train", "learning_rate", scientific),
)
"""Name, split and key of what is written for each epoch."""


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
    """One curve; training is solid with dots, validation is dashed with squares."""

    split: str
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
    epochs = _epochs(record)
    if not epochs:
        return None
    x = counting_axis(len(epochs), LEFT + 10, RIGHT - 10)
    charts = tuple(_chart(title, epochs, x) for title in ("loss", "accuracy", "learning rate"))
    best = next((x.at(i) for i, epoch in enumerate(epochs, 1) if epoch.is_best), None)
    heads = sum(epoch.is_head for epoch in epochs)
    step = (x.end - x.start) / max(len(epochs) - 1, 1)
    head = min(x.at(heads) + step / 2, RIGHT) if heads else None
    return Curves(tuple(name for name, *_ in COLUMNS), epochs, x, charts, best, head)


def _epochs(record: Record) -> tuple[Epoch, ...]:
    lines = {(line["epoch"], line["split"]): i for i, line in enumerate(record.get(METRICS) or [])}
    best, heads = record.get(RESULT, "best", "epoch"), record.get(CONFIG, "train", "head_epochs")
    return tuple(
        Epoch(
            record.number(count, METRICS, lines[epoch, "train"], "epoch"),
            tuple(record.number(form, METRICS, lines[epoch, split], key) for _, split, key, form in COLUMNS),
            epoch == best,
            epoch <= heads,
        )
        for epoch in sorted({epoch for epoch, split in lines if split == "train"})
        if (epoch, "validation") in lines
    )


def _chart(title: str, epochs: tuple[Epoch, ...], x: Axis) -> Chart:
    series = {
        split: [float(epoch.values[i].value) for epoch in epochs]
        for i, (name, split, _, _) in enumerate(COLUMNS)
        if name.endswith(title)
    }
    y = fitted_axis([value for values in series.values() for value in values], BOTTOM, TOP)
    lines = tuple(_line(split, values, x, y) for split, values in series.items())
    words = (
        f"{name} from {epochs[0].values[i].text} to {epochs[-1].values[i].text}"
        for i, (name, *_) in enumerate(COLUMNS)
        if name.endswith(title)
    )
    return Chart(title, f"Over {len(epochs)} epochs: {', '.join(words)}.", y, lines)


def _line(split: str, values: list[float], x: Axis, y: Axis) -> Line:
    places = [(x.at(i), y.at(value)) for i, value in enumerate(values, 1) if math.isfinite(value)]
    return Line(split, polyline(places), tuple(places) if len(values) <= MARKED_EPOCHS else ())
