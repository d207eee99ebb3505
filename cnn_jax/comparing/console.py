"""What a comparison prints, on 80 columns where there are few runs."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from cnn_jax.comparing.pairs import Pair
from cnn_jax.comparing.runs import Compared, Comparison, differences, missing
from cnn_jax.io.escaping import plain, printable
from cnn_jax.report.record import NOTHING, decimals
from cnn_jax.report.tables import shown

MOST_PAIRS = 15
"""That are printed; of more, those of the most accurate run. The page has all."""
MOST_COLUMNS = 4
"""Runs up to which a setting has a column for each."""
MEGA = 1e6


def head(comparison: Comparison) -> Iterator[str]:
    """The runs by their numbers, and what was left out."""
    for run in comparison.runs:
        status = "" if run.row["status"] == "completed" else f" ({run.row['status']})"
        yield f"{run.number:<11}{printable(str(run.directory))}{status}"
    yield from (f"missing    {printable(line)}" for line in missing(comparison.runs))
    yield from (f"left out   {printable(line)}" for line in comparison.left_out)


def figures(comparison: Comparison) -> Table:
    """A row for each run."""
    table = _table("", "accuracy", "95 %", "loss", "ECE", "epoch", "trains", "seconds", "images/s", numbers=8)
    for run in comparison.runs:
        interval = run.evaluated("accuracy_ci95")
        trains, epoch = run.row.get("trainable_parameters"), run.row.get("epoch")
        table.add_row(
            str(run.number),
            run.reached(decimals, "accuracy").text,
            "-" if interval is None else "-".join(f"{end:.3f}".removeprefix("0") for end in interval),
            run.reached(decimals, "loss").text,
            _decimals(run.evaluated("calibration", "ece")),
            "-" if epoch is None else str(epoch),
            "-" if trains is None else f"{trains / MEGA:,.2f} M" if trains >= MEGA else f"{trains:,}",
            _whole(run.row.get("wall_seconds")),
            _whole(run.row.get("images_per_second")),
        )
    return table


def settings(runs: tuple[Compared, ...]) -> Table | list[str]:
    """The settings that differ: a table, or of many runs lines."""
    found = differences(runs)
    if len(runs) > MOST_COLUMNS:
        return [f"{name}: {_grouped(name, values)}" for name, values in found.items()]
    table = _table("setting", *(str(run.number) for run in runs), numbers=0)
    for name, values in found.items():
        table.add_row(name, *(plain(shown(name, value)) for value in values))
    return table


def _grouped(name: str, values: list[Any]) -> str:
    """Each value of a setting, with the numbers of the runs that have it."""
    by_value: dict[str, list[str]] = {}
    for number, value in enumerate(values, start=1):
        by_value.setdefault(printable(shown(name, value)), []).append(str(number))
    return "; ".join(f"{value} ({', '.join(numbers)})" for value, numbers in by_value.items())


def chosen(found: tuple[Pair, ...]) -> list[Pair]:
    """The pairs that are printed."""
    if len(found) <= MOST_PAIRS:
        return list(found)
    best = max({run.number: run for pair in found for run in (pair.first, pair.second)}.values(), key=_accuracy)
    return [pair for pair in found if best.number in (pair.first.number, pair.second.number)]


def _accuracy(run: Compared) -> float:
    return float(run.evaluated("accuracy"))


LEGEND = (
    "alone: images that only the one, and only the other names rightly; p: McNemar's exact test of these;",
    "Holm: the same p for as many tests as there are pairs. 95 %: Tango's interval, and for losses Student's",
)
"""Of the table of pairs."""


def tested(found: list[Pair]) -> Table:
    """A row for each pair that can be compared."""
    table = _table("runs", "accuracy", "95 %", "alone", "p", "Holm", "loss", "95 %", numbers=7)
    for pair in found:
        if pair.found is None or pair.adjusted is None:
            continue
        alone = f"{pair.found['only_this_right']}/{pair.found['only_other_right']}"
        table.add_row(
            pair.names,
            f"{pair.found['difference']:+.3f}",
            interval(pair.found["difference_ci95"]),
            alone,
            f"{pair.found['mcnemar_p_value']:.2g}",
            f"{pair.adjusted:.2g}",
            f"{pair.found['loss_difference']:+.3f}",
            interval(pair.found["loss_difference_ci95"]),
        )
    return table


def interval(ends: tuple[float, float] | None) -> str:
    """Of a difference."""
    return NOTHING if ends is None else " ".join(f"{end:+.3f}".replace("0.", ".", 1) for end in ends)


def remarks(found: list[Pair]) -> Iterator[str]:
    """What cannot be compared, and what has to be known with the rest; the same is said once, for all of its pairs."""
    said: dict[str, list[str]] = {}
    for pair in found:
        texts = [f"not compared: {pair.reason}"] if pair.reason else pair.notes
        for text in texts:
            said.setdefault(text, []).append(pair.names)
    for text, names in said.items():
        yield f"{', '.join(names)}: {printable(text)}"


def _table(*heads: str, numbers: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place >= len(heads) - numbers else "left", overflow="fold")
    return table


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
