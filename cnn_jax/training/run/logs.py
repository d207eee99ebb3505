"""Where a run reports: metrics.jsonl, TensorBoard, and one live line on the console."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cnn_jax.io.escaping import console, printable
from cnn_jax.io.files import parse_json
from cnn_jax.io.writing import append, write_atomically
from cnn_jax.training.run import damage
from cnn_jax.training.run.damage import METRICS
from cnn_jax.training.run.tracker import Tracker

NUMBERS = ("step", "epoch", "loss", "accuracy", "images_per_second")
"""What each of its lines has, beside the name of the split."""

SECONDS_BETWEEN_LINES = 30.0
"""Of progress, where it cannot be shown live."""


class MetricsLog:
    """metrics.jsonl, one object a line, and the same scalars for TensorBoard and other trackers."""

    def __init__(
        self,
        workdir: Path | None,
        first_step: int,
        epochs: int,
        trackers: Sequence[Tracker],
        say: Callable[[str], None],
    ) -> None:
        """Go on after `first_step`, when so many epochs were whole: lines of later steps, left by a kill, are dropped.

        Where lines are damaged or missing, or no checkpoint is left of them, `say` is told, and the file as it was is
        kept in the folder `damaged`.
        Without a `workdir`, in a process that does not write, nothing is kept.
        """
        self._path: Path | None = None
        self._trackers = trackers
        if workdir is None:
            return
        self._path = workdir / METRICS
        found, bad = _read(self._path)
        kept = {line: content for line, content in found.items() if content["step"] <= first_step}
        gone = set(range(1, epochs + 1)) - {content["epoch"] for content in kept.values()}
        reasons = []
        if bad or gone:
            epochs_gone = f"; nothing is left of epochs {', '.join(map(str, sorted(gone)))}" if gone else ""
            reasons.append(f"{bad} lines of {METRICS} cannot be read{epochs_gone};")
        if found and not first_step:
            lost = len({content["epoch"] for content in found.values()})
            reasons.append(f"no checkpoint is left of {lost} epochs, so training begins anew; {METRICS}")
        if reasons:
            say(f"damaged    {' '.join(reasons)} as it was: {_copy(self._path)}")
        write_atomically(self._path, "".join(f"{line}\n" for line in kept))

    def write(self, *lines: dict[str, Any]) -> None:
        """Append objects, all at once; each has at least `step` and `split`."""
        if self._path is not None:
            append(self._path, "".join(f"{json.dumps(line)}\n" for line in lines))
        for line in lines:
            shown = {name: value for name, value in line.items() if isinstance(value, int | float)}
            del shown["step"]
            for tracker in self._trackers:
                tracker.scalars(line["step"], {f"{line['split']}/{name}": shown[name] for name in shown})

    @property
    def shows_images(self) -> bool:
        """Whether `images` go anywhere."""
        return bool(self._trackers)

    def images(self, name: str, step: int, images: UInt8[np.ndarray, "n h w 3"]) -> None:
        """Show pictures: uint8[n, h, w, 3]."""
        for tracker in self._trackers:
            tracker.images(step, name, images)

    def end(self, status: str, files: Sequence[Path] = ()) -> None:
        """The start is over: completed, interrupted or failed; these files are kept by the trackers that keep some."""
        for tracker in self._trackers:
            for path in files:
                tracker.artifact(path)
            tracker.end(status)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.end("failed")


def _copy(path: Path) -> str:
    """Keep a damaged file as it is; where."""
    if not path.exists():
        return "gone"
    place = damage.new_place(path)
    write_atomically(place, path.read_bytes())
    return str(place)


def read(workdir: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    return list(_read(workdir / METRICS)[0].values())


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The lines that are whole, each as it is and as what it says, and how many are not.

    The last may be cut short by a kill: then its epoch is trained again.
    """
    *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
    found: dict[str, dict[str, Any]] = {}
    bad, seen = 0, set()
    for line in lines if _content(last) is None else (*lines, last):
        content = _content(line)
        place = content and (content["step"], content["split"])
        if content is None or place in seen:
            bad += 1
        else:
            found[line.decode()] = content
            seen.add(place)
    return found, bad


def _content(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is damaged."""
    try:
        content = parse_json(line)
        whole = all(isinstance(content[name], int | float) for name in NUMBERS) and isinstance(content["split"], str)
    except (ValueError, KeyError, TypeError):
        return None
    return content if whole else None


class Reporter:
    """The console: a live line where it is a terminal, plain lines otherwise, in a notebook too."""

    def __init__(self) -> None:
        terminal = False if "ipykernel" in sys.modules else None  # a notebook says that it is one, and is not
        self.console = console(sys.stdout, force_jupyter=False, force_terminal=terminal)
        self._headed = False

    def line(self, text: str) -> None:
        """Print a line, or several."""
        self.console.print(text, markup=False)

    def table(self, table: Table) -> None:
        """Print a table."""
        self.console.print(table)

    def epoch(
        self,
        name: str,
        training: dict[str, float],
        validation: dict[str, float] | None,
        learning_rate: float | None,
        images_per_second: float,
        best: bool,
    ) -> None:
        """A row of the table of epochs, for 80 columns; the first has the heads of the columns above it.

        Without a learning rate, the classifier was solved; without a validation, its columns have a dash.
        """
        if not self._headed:
            self.line(
                f"epoch{'train loss':>15}{'accuracy':>10}{'val. loss':>11}{'accuracy':>10}{'rate':>11}{'images/s':>10}"
            )
            self._headed = True
        rate = "solved" if learning_rate is None else f"{learning_rate:.2e}"
        loss, accuracy = (
            ("-", "-") if validation is None else (f"{validation[key]:.4f}" for key in ("loss", "accuracy"))
        )
        self.line(
            f"{name:<9}{training['loss']:>11.4f}{training['accuracy']:>10.4f}"
            f"{loss:>11}{accuracy:>10}"
            f"{rate:>11}{images_per_second:>10,.0f}{'  best' if best else ''}"
        )

    def bar(self, description: str, total: int, unit: str) -> "LiveBar":
        """A context manager that shows progress towards `total` items, and the speed in units a second."""
        return LiveBar(self.console, description, total, unit)


class LiveBar:
    """What is going on, how much is done, the speed and the time left.

    One live line on a terminal; elsewhere a plain line every half minute.
    """

    def __init__(self, console: Console, description: str, total: int, unit: str) -> None:
        self._console, self._description, self._total, self._unit = console, printable(description), total, unit
        self._items = self._units = 0
        self._start = self._spoke = time.perf_counter()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(self._description, total=total, speed="", note="")

    def __enter__(self) -> "LiveBar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, units: int, note: str = "", items: int = 1) -> None:
        """Count `items` more, which together are so many units."""
        self._items, self._units = self._items + items, self._units + units
        now = time.perf_counter()
        speed = f"{self._units / max(now - self._start, 1e-9):.0f} {self._unit}/s"
        self._progress.update(self._task, completed=self._items, speed=speed, note=note)
        if not self._console.is_terminal and now - self._spoke > SECONDS_BETWEEN_LINES:
            self._spoke = now
            left = (now - self._start) / self._items * (self._total - self._items)
            line = f"{self._description}   {self._items}/{self._total}   {speed}   {left:.0f} s left   {note}"
            self._console.print(line, markup=False)
