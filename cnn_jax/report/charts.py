"""Axes of drawings: from values to places, with round numbers beside them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The place of a value, to a tenth of a unit."""
        share = (value - self.low) / ((self.high - self.low) or 1)
        return round(self.start + share * (self.end - self.start), 1)

    def labels(self) -> list[tuple[float, str]]:
        """Place and text of each tick."""
        return [(self.at(tick), f"{tick:g}") for tick in self.ticks]


def fitted_axis(values: Iterable[float], start: float, end: float, most: int = 5) -> Axis:
    """An axis from one round number to another, with all finite values between them; `most` is of its intervals."""
    from matplotlib.ticker import MaxNLocator

    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        low, high = min(low, 0.0), max(high, 0.0) or 1.0
    ticks = tuple(float(f"{tick:.10g}") for tick in MaxNLocator(most).tick_values(low, high))
    return Axis(ticks[0], ticks[-1], start, end, ticks)


def counting_axis(last: int, start: float, end: float, most: int = 10) -> Axis:
    """An axis from 1 to `last`, with whole numbers beside it."""
    from matplotlib.ticker import MaxNLocator

    chosen = MaxNLocator(most, integer=True, min_n_ticks=1).tick_values(1, last)
    ticks = tuple(sorted({1, last} | {int(tick) for tick in chosen if 1 < tick < last}))
    close = (last - 1) / (2 * most)  # a number so near to the last would touch it
    kept = tuple(float(tick) for tick in ticks if tick in (1, last) or last - tick > close)
    if last == 1:  # a single one stands in the middle
        return Axis(0.5, 1.5, start, end, (1.0,))
    return Axis(1, last, start, end, kept)


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """Places as the `points` of an SVG polyline."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)
