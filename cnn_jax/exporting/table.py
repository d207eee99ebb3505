"""The formats of an export side by side, on the console."""

from typing import Any

from rich.table import Table

from cnn_jax.exporting.record import Row
from cnn_jax.io.escaping import plain

LOSS = 0.01
"""Of accuracy: a point."""


HEADS = ("format", "MB", "accuracy", "points", "95 %", "largest", "ms")
EXPLAINED = (
    "points: accuracy minus the run's on the same images, with its 95 % interval; largest: difference of a "
    "probability; ms: one image at a time on this machine"
)


def table(rows: dict[str, Row]) -> Table:
    """A row for each format, for 80 columns; `EXPLAINED` says what the columns are."""
    found = Table()
    for place, head in enumerate(HEADS):
        found.add_column(head, justify="right" if place else "left", overflow="fold")
    for row in rows.values():
        found.add_row(*map(plain, cells(row)))
    return found


def cells(row: Row) -> tuple[str, ...]:
    """What the columns of `HEADS` say of a file; - is what was not measured."""
    checked, accuracy, points, interval, largest, time = row["checked"], *5 * ("-",)
    if checked is not None:
        largest, time = f"{checked['largest_difference']:.0e}", f"{checked['milliseconds']:.2f}"
        if "accuracy" in checked:
            low, high = checked["difference_ci95"]
            accuracy, points = f"{checked['accuracy']:.4f}", f"{100 * checked['difference']:+.1f}"
            interval = f"{100 * low:+.1f} to {100 * high:+.1f}"
    return row["format"], f"{row['bytes'] / 1e6:.2f}", accuracy, points, interval, largest, time


def verdict(name: str, checked: dict[str, Any]) -> str | None:
    """What is wrong with a file, in a sentence; None where nothing is."""
    if not checked["fine"]:
        return (
            f"{name} differs from the run by {checked['largest_difference']:.1e} in a probability, more than "
            f"{checked['tolerance']:g}: {checked['changed']} of {checked['images']} images have another class"
        )
    if loses(checked):
        layers = ", ".join(f"{layer['layer']} ({100 * layer['added']:.0f} %)" for layer in checked.get("layers", ()))
        most = f". Most error comes in at {layers}; in % of the spread of a layer's values" if layers else ""
        return f"{name} loses {-100 * checked['difference']:.1f} points of accuracy{most}"
    return None


def loses(checked: dict[str, Any] | None) -> bool:
    """Whether it loses more than a point of accuracy."""
    return checked is not None and checked.get("difference", 0.0) < -LOSS
