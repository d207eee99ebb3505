"""The formats of an export side by side, on the console."""

from typing import Any

from rich.table import Table

from cnn_jax.console_text import plain
from cnn_jax.exporting.record import Row

LOSS = 0.01
"""Of accuracy: a point."""


def table(rows: dict[str, Row]) -> Table:
    """A row for each file: size, accuracy, its difference to the run's with the 95 % interval, and time."""
    found = Table()
    found.add_column("file", overflow="fold")
    for head in ("MB", "accuracy", "difference to the run", "largest", "ms an image"):
        found.add_column(head, justify="right")
    for name, row in rows.items():
        found.add_row(plain(name), f"{row['bytes'] / 1e6:.2f}", *_measured(row["checked"]))
    return found


def _measured(checked: dict[str, Any] | None) -> tuple[str, str, str, str]:
    """Of the last four columns."""
    if checked is None:
        return "-", "-", "-", "-"
    accuracy = difference = "-"
    if "accuracy" in checked:
        low, high = checked["difference_ci95"]
        accuracy = f"{checked['accuracy']:.4f}"
        difference = f"{checked['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
    return accuracy, difference, f"{checked['largest_difference']:.1e}", f"{checked['milliseconds']:.2f}"


def verdict(name: str, checked: dict[str, Any]) -> str | None:
    """What is wrong with a file, in a sentence; None where nothing is."""
    if not checked["fine"]:
        return (
            f"{name} differs from the run by {checked['largest_difference']:.1e} in a probability, more than "
            f"{checked['tolerance']:g}: {checked['changed']} of {checked['images']} images have another class"
        )
    if loses(checked):
        return f"{name} loses {-100 * checked['difference']:.1f} points of accuracy"
    return None


def loses(checked: dict[str, Any] | None) -> bool:
    """Whether it loses more than a point of accuracy."""
    return checked is not None and checked.get("difference", 0.0) < -LOSS
