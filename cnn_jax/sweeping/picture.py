"""A sweep as a picture: accuracy with its interval, and the time of an epoch, over the freeze points."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn_jax.sweeping.console import MEGA
from cnn_jax.sweeping.rows import Row


@dataclass(frozen=True)
class Colours:
    """Of a picture, as the pages have them (html/templates/base.html)."""

    paper: str
    ink: str
    soft: str
    line: str
    series: tuple[str, ...]
    good: str
    bad: str


LIGHT = Colours(
    "#ffffff",
    "#1b1f24",
    "#5b6470",
    "#d7dce2",
    ("#0b62c4", "#c2570c", "#1a7f45", "#7b3fb5", "#8a5a00"),
    "#1a7f45",
    "#b3261e",
)
DARK = Colours(
    "#14171b",
    "#e7eaee",
    "#9aa4b0",
    "#343b44",
    ("#6cb0ff", "#ffa45c", "#5fd08d", "#c9a0f5", "#f2c14e"),
    "#5fd08d",
    "#ff8a80",
)
MARKERS = "osD^v"
HEIGHT, RESOLUTION = 5.6, 130


def draw(rows: Sequence[Row], chosen: Row | None, colours: Colours = LIGHT) -> bytes:
    """The picture as a PNG.

    The freeze points stand side by side from the one that trains most to the one that trains least, the learning
    rates are series; where there is one freeze point, the learning rates stand side by side.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places, series = _arrange(rows)
    width = min(max(6.4, 1.5 * len(places) + 1.5), 24)
    figure = Figure(figsize=(width, HEIGHT), dpi=RESOLUTION, layout="constrained", facecolor=colours.paper)
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for axes in (above, below):
        _frame(axes, colours)
    _accuracies(above, places, series, chosen, colours)
    _times(below, places, series, colours)
    below.set_xticks(range(len(places)), [_tick(place, rows) for place in places], fontsize=9)
    below.set_xlim(-0.6, len(places) - 0.4)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def _arrange(rows: Sequence[Row]) -> tuple[list[Any], dict[str, dict[Any, Row]]]:
    """What stands side by side, and the series: place to row, by name."""
    points = list(dict.fromkeys(row.freeze_until for row in rows))
    rates = list(dict.fromkeys(row.learning_rate for row in rows))
    if len(points) == 1 and len(rates) > 1:
        return rates, {"": {row.learning_rate: row for row in rows}}
    if len(rates) == 1:
        return points, {"": {row.freeze_until: row for row in rows}}
    return points, {
        f"learning rate {rate:g}": {row.freeze_until: row for row in rows if row.learning_rate == rate}
        for rate in rates
    }


def _tick(place: Any, rows: Sequence[Row]) -> str:
    """A freeze point with what it trains, or a learning rate."""
    if isinstance(place, float):
        return f"learning rate\n{place:g}"
    trains = next(row.parameters["trainable"] for row in rows if row.freeze_until == place)
    count = f"{trains / MEGA:.2f} M" if trains >= MEGA else f"{trains:,}"
    return f"{place}\n{count} train"


def _frame(axes: Any, colours: Colours) -> None:
    axes.set_facecolor(colours.paper)
    axes.grid(axis="y", color=colours.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colours.ink, labelcolor=colours.ink, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(colours.line)


def _offsets(count: int) -> list[float]:
    """Where the series stand beside a place."""
    return [(i - (count - 1) / 2) * 0.7 / max(count, 1) for i in range(count)]


def _accuracies(
    axes: Any, places: list[Any], series: dict[str, dict[Any, Row]], chosen: Row | None, colours: Colours
) -> None:
    for number, ((name, rows), offset) in enumerate(zip(series.items(), _offsets(len(series)), strict=True)):
        colour, marker = colours.series[number % len(colours.series)], MARKERS[number % len(MARKERS)]
        shown = [(i + offset, rows[place]) for i, place in enumerate(places) if place in rows]
        done = [(x, row.accuracy, *row.interval) for x, row in shown if row.accuracy is not None and row.interval]
        if done:
            across, middle, low, high = (list(values) for values in zip(*done, strict=True))
            ends = np.maximum([np.subtract(middle, low), np.subtract(high, middle)], 0)
            axes.plot(across, middle, color=colour, linewidth=1, alpha=0.45)
            style = {"fmt": marker, "color": colour, "markersize": 7, "capsize": 5, "elinewidth": 1.6}
            axes.errorbar(across, middle, ends, label=name or None, **style)
        for x, row in shown:
            _mark(axes, x, row, row is chosen, colours)
    axes.set_ylabel("validation accuracy", color=colours.ink)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.margins(y=0.15)
    if len(series) > 1 and axes.get_legend_handles_labels()[1]:
        place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": min(len(series), 4)}
        axes.legend(frameon=False, labelcolor=colours.ink, **place)


def _mark(axes: Any, x: float, row: Row, is_best: bool, colours: Colours) -> None:
    """The accuracy above its interval, or that the runs failed."""
    style: dict[str, Any] = {"ha": "center", "fontsize": 9}
    if row.accuracy is not None and row.interval is not None:
        text, tone = f"{100 * row.accuracy:.1f} %", colours.good if is_best else colours.ink
        weight = "bold" if is_best else "normal"
        text = f"best\n{text}" if is_best else text
        end = x, row.interval[1]
        axes.annotate(text, end, (0, 5), textcoords="offset points", color=tone, weight=weight, **style)
    elif row.errors:
        axes.annotate("failed", (x, 0.04), xycoords=("data", "axes fraction"), color=colours.bad, **style)


def _times(axes: Any, places: list[Any], series: dict[str, dict[Any, Row]], colours: Colours) -> None:
    wide = 0.62 / max(len(series), 1)
    for number, (rows, offset) in enumerate(zip(series.values(), _offsets(len(series)), strict=True)):
        for i, place in enumerate(places):
            row = rows.get(place)
            if row is None or row.seconds_per_epoch is None:
                continue
            colour = colours.series[number % len(colours.series)]
            bar = axes.bar(i + offset, row.seconds_per_epoch, wide, color=colour)
            seconds = row.seconds_per_epoch
            text = f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
            axes.bar_label(bar, [text], padding=2, color=colours.ink, fontsize=9)
    axes.set_ylabel("seconds an epoch", color=colours.ink)
    axes.margins(y=0.18)
    axes.set_ylim(bottom=0)
