"""The files that a run was exported to, as their own runtimes measured them."""

from dataclasses import dataclass

from cnn_jax.exporting.record import FILE
from cnn_jax.report.record import Number, Record, percent


def megabytes(value: int) -> str:
    """Of bytes, to 10 kB."""
    return f"{value / 1e6:.2f} MB"


def points(value: float) -> str:
    """A difference of two shares, with its sign."""
    return f"{100 * value:+.1f}"


def tiny(value: float) -> str:
    """The power of ten of a difference."""
    return f"{value:.0e}"


def milliseconds(value: float) -> str:
    """A time."""
    return f"{value:.2f} ms"


@dataclass(frozen=True)
class FormatRow:
    """A file."""

    name: str
    runtime: str
    size: Number
    accuracy: Number
    difference: Number
    low: Number
    high: Number
    largest: Number
    time: Number


def formats(record: Record) -> tuple[FormatRow, ...]:
    """A row for each file that export.json lists; none without it."""
    found = record.get(FILE, "files")
    return tuple(_row(record, name) for name in found) if isinstance(found, dict) else ()


def _row(record: Record, name: str) -> FormatRow:
    place = (FILE, "files", name)
    checked = (*place, "checked")
    return FormatRow(
        name,
        str(record.get(*checked, "runtime") or "not checked"),
        record.number(megabytes, *place, "bytes"),
        record.number(percent, *checked, "accuracy"),
        record.number(points, *checked, "difference"),
        record.number(points, *checked, "difference_ci95", 0),
        record.number(points, *checked, "difference_ci95", 1),
        record.number(tiny, *checked, "largest_difference"),
        record.number(milliseconds, *checked, "milliseconds"),
    )
