"""The comparison as a page: everything in one file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnn_jax import html
from cnn_jax.comparing.pairs import Pair
from cnn_jax.comparing.runs import LABEL, Compared, Comparison, differences, missing
from cnn_jax.io.escaping import printable
from cnn_jax.report.charts import Axis, counting_axis, fitted_axis, polyline
from cnn_jax.report.curves import BOTTOM, FRAME, LEFT, MARKED_EPOCHS, RIGHT, TOP, Line
from cnn_jax.report.record import Form, Number, count, decimals, per_second, percent, seconds
from cnn_jax.report.tables import configuration, shown

COLOURS, DASHES = 5, 4
"""Different ones; runs after the fifth have the colours again with other dashes."""
CURVES = (
    ("validation accuracy", "validation", "accuracy"),
    ("validation loss", "validation", "loss"),
    ("training accuracy", "train", "accuracy"),
    ("training loss", "train", "loss"),
)
"""Title, split and key of what is drawn over the epochs."""
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

FIGURES: tuple[tuple[str, Form, tuple[str, ...]], ...] = (
    ("macro F1", decimals, ("macro", "f1")),
    ("ROC-AUC", decimals, ("roc_auc",)),
    ("calibration error", decimals, ("calibration", "ece")),
    ("temperature", decimals, ("calibration", "temperature")),
)
"""Head, form and place in the evaluation, beside accuracy and loss."""
COSTS: tuple[tuple[str, Form, tuple[str, ...]], ...] = (
    ("best epoch", count, ("best", "epoch")),
    ("of", count, ("epochs",)),
    ("parameters", count, ("parameters", "total")),
    ("that train", count, ("parameters", "trainable")),
    ("time", seconds, ("wall_seconds",)),
    ("training speed", per_second, ("images_per_second",)),
)
"""The same in result.json."""


@dataclass(frozen=True)
class Shown:
    """A run as the page shows it."""

    run: Compared
    name: str
    style: str
    """The classes of its colour and dashes."""
    accuracy: Number
    low: Number
    high: Number
    figures: tuple[Number, ...]
    costs: tuple[Number, ...]


@dataclass(frozen=True)
class Panel:
    """One drawing with a line for each run."""

    title: str
    description: str
    """In words, for those who do not see it."""
    x: Axis
    y: Axis
    below: str
    """What the x axis is."""
    lines: tuple[Line, ...]
    diagonal: bool = False


def page(comparison: Comparison, pairs: Sequence[Pair]) -> str:
    """The page as HTML."""
    runs = [_shown(run) for run in comparison.runs]
    found = differences(comparison.runs)
    alike = [s for s in configuration(comparison.runs[0].config) if s.name not in found and s.name != LABEL]
    return html.render(
        "compare.html",
        title=f"{len(runs)} runs side by side",
        split=comparison.split,
        left_out=[printable(line) for line in comparison.left_out],
        runs=runs,
        missing=[printable(line) for line in missing(comparison.runs)],
        heads=["loss", *(head for head, *_ in FIGURES)],
        costs=[head for head, *_ in COSTS],
        pairs=pairs,
        settings={name: [printable(shown(name, value)) for value in values] for name, values in found.items()},
        alike=alike,
        panels=[*_curves(runs), *_calibration(runs)],
        frame=FRAME,
    )


def _shown(run: Compared) -> Shown:
    place, record = run.number - 1, run.record
    low, high = (record.measured(percent, "accuracy_ci95", end) for end in (0, 1))
    return Shown(
        run,
        f"{run.number} {printable(str(run.directory))}",
        f"series-{place % COLOURS} dash-{place // COLOURS % DASHES}",
        run.reached(percent, "accuracy"),
        low,
        high,
        (run.reached(decimals, "loss"), *(record.measured(form, *keys) for _, form, keys in FIGURES)),
        tuple(record.result(form, *keys) for _, form, keys in COSTS),
    )


def _curves(runs: Sequence[Shown]) -> list[Panel]:
    """What the epochs of all runs reached, each measure in a drawing of its own."""
    last = max((line["epoch"] for one in runs for line in one.run.epochs), default=0)
    if not last:
        return []
    x = counting_axis(last, LEFT + 10, RIGHT - 10)
    return [panel for title, split, key in CURVES for panel in _curve(runs, title, split, key, x)]


def _curve(runs: Sequence[Shown], title: str, split: str, key: str, x: Axis) -> list[Panel]:
    """The drawing; none where no run has a value."""
    series = [
        [(line["epoch"], line[key]) for line in one.run.epochs if line["split"] == split and math.isfinite(line[key])]
        for one in runs
    ]
    values = [value for points in series for _, value in points]
    if not values:
        return []
    y, lines = fitted_axis(values, BOTTOM, TOP), []
    for one, points in zip(runs, series, strict=True):
        places = [(x.at(epoch), y.at(value)) for epoch, value in points]
        lines.append(Line(one.style, polyline(places), tuple(places) if len(places) <= MARKED_EPOCHS else ()))
    words = (f"{one.name} ends at {points[-1][1]:.4f}" for one, points in zip(runs, series, strict=True) if points)
    return [Panel(title, f"Over the epochs: {'; '.join(words)}.", x, y, "epoch", tuple(lines))]


def _calibration(runs: Sequence[Shown]) -> list[Panel]:
    """How often each run is right where it is so sure; none where no run was evaluated."""
    x, y = Axis(0, 1, LEFT + 10, RIGHT - 10, SHARES), Axis(0, 1, BOTTOM, TOP, SHARES)
    lines, words = [], []
    for one in runs:
        if not one.run.measured:
            continue
        bins = [part for part in one.run.evaluated("calibration", "bins") if part["count"]]
        places = [(x.at(part["confidence"]), y.at(part["accuracy"])) for part in bins]
        lines.append(Line(one.style, polyline(places), tuple(places)))
        words.append(f"{one.name} {one.run.evaluated('calibration', 'ece'):.4f}")
    if not lines:
        return []
    description = f"Share of right predictions over their probability. Calibration error: {'; '.join(words)}."
    below = "probability of the predicted class"
    return [Panel("calibration: share of right predictions", description, x, y, below, tuple(lines), diagonal=True)]
