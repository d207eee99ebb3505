"""Running a sweep: one run after the other in this process, each kept as soon as it ends."""

import gc
import json
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax

from cnn_jax.config.image_size import in_pixels
from cnn_jax.errors import ConfigError, RunFailed, UserError
from cnn_jax.io.escaping import printable
from cnn_jax.io.writing import write_atomically
from cnn_jax.sweeping import rows, supervision
from cnn_jax.sweeping.console import RunReporter
from cnn_jax.sweeping.grid import FILE, Grid, Run, check
from cnn_jax.sweeping.rows import COMPLETED, FAILED, OPEN, Reached, Row
from cnn_jax.training.examples import open_splits
from cnn_jax.training.loop import fit
from cnn_jax.training.run import run_directory
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.processes import fail_together, is_main
from cnn_jax.training.shared import Shared
from cnn_jax.weights import locate

LOG = "sweep.log"
"""What the runs themselves would print."""


@dataclass
class Sweep:
    """A sweep and how far it is."""

    grid: Grid
    workdir: Path
    planned: list[Run]
    parameters: dict[str, dict[str, int]]
    """By freeze point, see `Grid.parameters`."""
    images: dict[str, int]
    """By split, of the first seed."""
    classes: tuple[str, ...]
    reached: list[Reached]
    """What each of the planned runs came to."""
    stopped_by: int | None = None
    """The signal that stopped it, if one did."""
    seconds: float = 0.0
    """Wall time of this start."""
    shared: Shared = field(default_factory=Shared)
    notes: tuple[str, ...] = ()
    """What was found in the data and left out, a line each."""

    @property
    def rows(self) -> list[Row]:
        """A row for each freeze point and learning rate."""
        return rows.gather(self.planned, self.reached, self.parameters)

    def count(self, status: str) -> int:
        """How many runs have it."""
        return sum(run.status == status for run in self.reached)


def prepare(grid: Grid, workdir: Path, reporter: Reporter) -> Sweep:
    """Find everything that would be wrong with all runs, or with one of them from the start; nothing is written.

    Raises:
        UserError: what is wrong, and the fix.
    """
    shared, first = Shared(), grid.runs(workdir)[0]
    locate.locate(grid.config.model)
    dataset, _ = open_splits(first.config, None, reporter, shared)
    if "validation" not in dataset.splits:
        raise ConfigError(
            "a sweep goes by the accuracy on validation images, and there are none: give them a share, as in "
            "--data.split 0.8 0.2 0"
        )
    model = grid.model(len(dataset.classes))
    ordered = grid.in_order_of_depth(model)
    parameters, planned = ordered.parameters(model), ordered.runs(workdir)
    check(workdir, planned)
    return Sweep(
        ordered,
        workdir,
        planned,
        parameters,
        {name: len(split) for name, split in dataset.splits.items()},
        dataset.classes,
        [_before(run, supervision.lost()) for run in planned],
        shared=shared,
        notes=dataset.notes,
    )


def _before(planned: Run, lost: dict[str, str]) -> Reached:
    """What a run came to in earlier starts; `lost` are those that took the process of this start with them."""
    directory = str(planned.directory)
    if directory in lost:
        return Reached(planned.seed, directory, FAILED, error=lost[directory])
    return rows.read(planned) or Reached(planned.seed, directory, OPEN)


def run(grid: Grid, workdir: Path, reporter: Reporter) -> Sweep:
    """Train every run of the grid that is not complete in `workdir`, until all are or a signal comes.

    A run that fails is noted with its error, and the others go on. Every run is what `fit` makes of its
    configuration alone; data, decoded images and features are made once for all of them.

    Raises:
        UserError: what is wrong with all of them, before any starts.
        RunFailed: the record cannot be written.
    """
    begun = time.perf_counter()
    with fail_together():
        sweep = prepare(grid, workdir, reporter)
    write(sweep)
    _introduce(sweep, reporter)
    for place, planned in enumerate(sweep.planned):
        if sweep.reached[place].status != OPEN:
            continue
        label = _label(sweep.grid, place, planned)
        if jax.process_count() == 1:  # of several processes, the others would miss one that starts again
            supervision.at(str(planned.directory))
        reached, sweep.stopped_by = _train(planned, label, sweep.shared, workdir / LOG, reporter)
        sweep.reached[place], sweep.seconds = reached, time.perf_counter() - begun
        supervision.at(None)
        write(sweep)
        if sweep.stopped_by is not None:
            break
        reporter.line(f"{label}  {_outcome(reached)}")
    return sweep


def _train(planned: Run, label: str, shared: Shared, log: Path, reporter: Reporter) -> tuple[Reached, int | None]:
    """What a run came to, and the signal that stopped it, if one did."""
    open_run = Reached(planned.seed, str(planned.directory), OPEN)
    with RunReporter(label, log, reporter) as own:
        own.line(f"\n{' '.join(label.split())}")
        try:
            outcome = fit(planned.config, planned.directory, own, shared=shared)
        except (UserError, RunFailed) as error:
            own.line(f"error: {error}")
            return replace(open_run, status=FAILED, error=str(error)), None
        except Exception as error:  # of whatever kind (no memory on the device, say): the others go on
            if jax.process_count() > 1:
                raise  # in one process alone, perhaps
            own.line(traceback.format_exc())
            text = f"{type(error).__name__}: {error or 'no more is known'}"
            return replace(open_run, status=FAILED, error=text), None
        finally:
            gc.collect()  # the programs and arrays of a run make room for those of the next
    if outcome.stopped_by is not None:
        return open_run, outcome.stopped_by
    return rows.read(planned) or open_run, None


def write(sweep: Sweep) -> None:
    """Write sweep.json; RunFailed where that is not possible."""
    if not is_main():
        return
    try:
        sweep.workdir.mkdir(parents=True, exist_ok=True)
        write_atomically(sweep.workdir / FILE, json.dumps(record(sweep), indent=1))
    except OSError as error:
        raise RunFailed(f"{sweep.workdir / FILE} cannot be written: {error.strerror}") from error


def record(sweep: Sweep) -> dict[str, Any]:
    """What sweep.json holds."""
    found = sweep.rows
    chosen = rows.best(found)
    return {
        "name": sweep.grid.config.name,
        "status": COMPLETED if sweep.count(OPEN) == 0 else OPEN,
        "freeze_until": sweep.grid.freeze_points,
        "learning_rates": sweep.grid.learning_rates,
        "seeds": sweep.grid.seeds,
        "runs": {status: sweep.count(status) for status in (COMPLETED, FAILED, OPEN)},
        "best": None if chosen is None else chosen.best_run.directory,
        "rows": [row.as_json(row is chosen) for row in found],
        "images": sweep.images,
        "classes": sweep.classes,
        "config": asdict(sweep.grid.config),
        "versions": run_directory.versions(),
    }


def _introduce(sweep: Sweep, reporter: Reporter) -> None:
    grid, config = sweep.grid, sweep.grid.config
    axes = (grid.freeze_points, "freeze point"), (grid.learning_rates, "learning rate"), (grid.seeds, "seed")
    factors = " x ".join(f"{len(values)} {name}{'s' * (len(values) > 1)}" for values, name in axes)
    before = sweep.count(COMPLETED)
    sizes = ", ".join(f"{count} {name}" for name, count in sweep.images.items())
    reporter.line(f"sweep      {sweep.workdir}: {factors}" + (f", {before} runs are complete" if before else ""))
    reporter.line(f"data       {printable(config.data.dataset)}: {sizes}; {len(sweep.classes)} classes")
    for note in sweep.notes:
        reporter.line(f"           {printable(note)}")
    reporter.line(
        f"model      {config.model.name}, {in_pixels(config.model.image_size)}, {_epochs(config.train.epochs)}"
    )


def _epochs(number: int) -> str:
    return f"{number} epoch{'s' * (number > 1)}"


def _label(grid: Grid, place: int, planned: Run) -> str:
    """Which run it is, in columns."""
    total = len(grid.freeze_points) * len(grid.learning_rates) * len(grid.seeds)
    parts = [f"{place + 1}/{total}".ljust(9), planned.freeze_until.ljust(max(map(len, grid.freeze_points)))]
    if len(grid.learning_rates) > 1:
        parts.append(f"{planned.learning_rate:g}".ljust(max(len(f"{rate:g}") for rate in grid.learning_rates)))
    if len(grid.seeds) > 1:
        parts.append(f"seed {planned.seed}".ljust(5 + max(len(str(seed)) for seed in grid.seeds)))
    return "  ".join(parts)


def _outcome(reached: Reached) -> str:
    if reached.status == FAILED:
        return f"failed: {printable(first_line(reached.error or ''))}"
    if reached.accuracy is None or reached.wall_seconds is None:
        return reached.status
    return f"accuracy {reached.accuracy:.4f}  {reached.wall_seconds:.1f} s"


def first_line(text: str) -> str:
    """Of an error."""
    return (text.splitlines() or [""])[0]


def failures(sweep: Sweep) -> Sequence[tuple[Run, str]]:
    """The runs that failed, and why."""
    pairs = zip(sweep.planned, sweep.reached, strict=True)
    return [(planned, reached.error or "") for planned, reached in pairs if reached.status == FAILED]
