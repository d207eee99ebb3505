"""What a sweep prints: a live line and one for the record of each run, then the table."""

from pathlib import Path
from types import TracebackType

from rich.table import Table

from cnn_jax.io.escaping import console
from cnn_jax.sweeping.rows import Row, not_told_apart
from cnn_jax.training.run.logs import LiveBar, Reporter
from cnn_jax.training.run.processes import is_main

MEGA = 1e6


class RunReporter(Reporter):
    """The reporter of one run: its lines go to a file, its live line to the console, with the run named before it."""

    def __init__(self, label: str, log: Path, shown: Reporter) -> None:
        super().__init__()
        self._file = log.open("a", encoding="utf-8", errors="backslashreplace") if is_main() else None
        self._label, self._shown = " ".join(label.split()), shown.console
        if self._file is not None:
            self.console = console(self._file)

    def bar(self, description: str, total: int, unit: str) -> LiveBar:
        return LiveBar(self._shown, f"{self._label}: {description}", total, unit)

    def __enter__(self) -> "RunReporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def table(rows: list[Row], chosen: Row | None) -> Table:
    """All rows, no wider than 80 columns for layer names of usual length; the best one has a star."""
    several_rates = len({row.learning_rate for row in rows}) > 1
    shown = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    shown.add_column("freeze_until", overflow="fold")
    if several_rates:
        shown.add_column("rate", justify="right")
    for head in ("trains", "accuracy", "95 %", "s/epoch", "MB", "MFLOP"):
        shown.add_column(head, justify="right")
    for row in rows:
        rate = [f"{row.learning_rate:g}"] if several_rates else []
        shown.add_row(row.freeze_until, *rate, *cells(row, row is chosen), style="bold" if row is chosen else None)
    return shown


def cells(row: Row, is_best: bool) -> list[str]:
    """The figures of a row: parameters that train, accuracy, its interval, seconds, MB, MFLOP an image."""
    trains = row.parameters["trainable"]
    figures = [f"{trains:,}" if trains < 10 * MEGA else f"{trains / MEGA:,.1f} M"]
    if row.accuracy is None or row.interval is None:
        return [*figures, f"{row.status}  ", "", "", "", ""]
    return [
        *figures,
        f"{row.accuracy:.4f} {'*' if is_best else ' '}",
        "-".join(f"{end:.3f}".removeprefix("0") for end in row.interval),
        _short(row.seconds_per_epoch),
        _short(row.memory and row.memory / MEGA),
        _short(row.flops_per_image and row.flops_per_image / MEGA),
    ]


def _short(value: float | None) -> str:
    """Three digits or all before the point."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def legend(rows: list[Row]) -> list[str]:
    """What the columns are, and which row is the course's."""
    kinds = {row.interval_kind: row for row in rows if row.interval_kind is not None}
    lines = []
    if "wilson" in kinds:
        images = kinds["wilson"].done[0].validation_images
        lines.append(f"95 %       Wilson's interval, for {images} validation images")
    if "t" in kinds:
        lines.append("95 %       Student's interval over the seeds, of which accuracy is the mean")
    if kinds:
        lines.append("MB         of the program of a training step and of kept images or features")
        lines.append("MFLOP      of a training step, for each image")
    notes = dict.fromkeys(f"course     {row.freeze_until}: {row.note}" for row in rows if row.note)
    return [*lines, *notes]


def verdict(rows: list[Row], chosen: Row | None) -> list[str]:
    """The best row, and those that are not told apart from it."""
    if chosen is None or chosen.accuracy is None or chosen.interval is None:
        return []
    low, high = chosen.interval
    lines = [f"best       {_name(chosen, rows)}: accuracy {chosen.accuracy:.4f}, {low:.4f} to {high:.4f}"]
    alike = not_told_apart(rows, chosen)
    if alike:
        lines.append(f"           not told apart from it: {', '.join(_name(row, rows) for row in alike)}")
    return lines


def _name(row: Row, rows: list[Row]) -> str:
    several = len({other.learning_rate for other in rows}) > 1
    return f"{row.freeze_until} at {row.learning_rate:g}" if several else row.freeze_until
