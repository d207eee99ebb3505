"""Calibration: how often the network is right when it is so sure."""

from dataclasses import dataclass

from cnn_jax.report.charts import Axis
from cnn_jax.report.record import Form, Number, Record, count, decimals, percent

SIDE, LEFT, RIGHT, TOP, BOTTOM = 320, 44, 308, 12, 276
"""The square drawing and the edges of what is drawn."""
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Bin:
    """The examples whose highest probability lies in one interval."""

    low: Number
    high: Number
    count: Number
    confidence: Number
    accuracy: Number
    share: float
    """Of all examples."""
    bar: tuple[float, float, float, float]
    """x, y, width and height of its bar, which is as high as the accuracy."""
    mark: tuple[float, float]
    """Mean confidence and accuracy: on the diagonal where the network is calibrated."""


@dataclass(frozen=True)
class Calibration:
    """The section."""

    ece: Number
    temperature: Number
    loss: Number
    loss_at_temperature: Number
    ece_at_temperature: Number
    bins: tuple[Bin, ...]
    """Those with examples."""
    x: Axis
    y: Axis


def calibration(record: Record) -> Calibration:
    """The reliability diagram and what a temperature would change."""
    x, y = Axis(0, 1, LEFT, RIGHT, TICKS), Axis(0, 1, BOTTOM, TOP, TICKS)
    bins = record.get(record.evaluation, "calibration", "bins")
    total = sum(item["count"] for item in bins)
    return Calibration(
        record.measured(decimals, "calibration", "ece"),
        record.measured(decimals, "calibration", "temperature"),
        record.measured(decimals, "loss"),
        record.measured(decimals, "calibration", "loss_at_temperature"),
        record.measured(decimals, "calibration", "ece_at_temperature"),
        tuple(_bin(record, i, total, x, y) for i, item in enumerate(bins) if item["count"]),
        x,
        y,
    )


def _bin(record: Record, index: int, total: int, x: Axis, y: Axis) -> Bin:
    def number(form: Form, key: str) -> Number:
        return record.measured(form, "calibration", "bins", index, key)

    low, high, accuracy = (number(percent, key) for key in ("low", "high", "accuracy"))
    examples, confidence = number(count, "count"), number(percent, "confidence")
    left, right, top = x.at(low.value), x.at(high.value), y.at(accuracy.value)
    return Bin(
        low,
        high,
        examples,
        confidence,
        accuracy,
        share=examples.value / total,
        bar=(left + 1, top, right - left - 2, BOTTOM - top),
        mark=(x.at(confidence.value), top),
    )
