"""Train with several freeze points, learning rates and seeds, and see them side by side.

    python -m cnn_jax.sweep --exp=mobilenet_ft --freeze-until none conv_pw_6 conv_pw_10 conv_pw_12 head
    python -m cnn_jax.sweep --exp=mobilenet_ft --freeze-until conv_pw_10 head --learning-rates 1e-3 1e-4 --seeds 0 1 2

Every combination is a run as `train` makes it, in a directory of its own; what they have in common is computed once.
Prints a table, and writes sweep.json, sweep.html and sweep.png. Started again with the same flags, it goes on where it
stopped; with more values, it adds their runs.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cnn_jax.api.paths import resolve_paths
from cnn_jax.cli import command_line
from cnn_jax.config import Config
from cnn_jax.errors import EXIT_FAILED, EXIT_SIGINT, EXIT_SIGTERM, ConfigError
from cnn_jax.runtime import distributed
from cnn_jax.runtime.distributed import DistributedArguments
from cnn_jax.sweeping import supervision

if TYPE_CHECKING:
    from cnn_jax.sweeping.running import Sweep
    from cnn_jax.training.run.logs import Reporter

TWICE = {
    "--freeze-until": ("train.freeze_until", "train.freeze-until"),
    "--learning-rates": ("optimizer.learning_rate", "optimizer.learning-rate"),
    "--seeds": ("seed",),
}
"""A flag of the sweep, and those of the configuration that say the same."""


@dataclass(frozen=True)
class Arguments:
    """Flags of this command, then the fields of the configuration."""

    exp: str
    """Name of an experiment, or path of a .py file that defines `config`."""
    augment: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Small random turns, shifts, zooms and mirror images, as in `train`; the sweep's name gets `_augmented`."""
    freeze_until: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="LAYER [LAYER ...]")] = None
    """Freeze points: the layers before each stay as loaded. Names of layers (`python -m cnn_jax.summarize` lists them),
    `head` (the classifier alone trains) or `none` (everything trains). None: the experiment's own."""
    learning_rates: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT [FLOAT ...]")] = None
    """Learning rates to try at each freeze point; None: the experiment's own."""
    seeds: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="INT [INT ...]")] = None
    """Seeds to repeat each with, for an interval over them; None: the experiment's own. As in `train`, a seed fixes the
    split of a data set that comes in one piece, too."""
    workdir: Path | None = None
    """Where the sweep is kept; None is runs/NAME-sweep."""
    distributed: DistributedArguments = field(default_factory=DistributedArguments)
    config: Annotated[Config, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = field(default_factory=Config)

    def __post_init__(self) -> None:
        for name in ("freeze_until", "learning_rates", "seeds"):
            if getattr(self, name) == ():
                raise ConfigError(f"--{name.replace('_', '-')}: give one or more values, separated by spaces")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, run what is not complete, print the table and write the page; returns the exit code."""
    arguments = command_line.parse_with_experiment(
        Arguments, argv, command="sweep", description=__doc__, usual=command_line.USUAL
    )
    _check_flags(arguments, argv)
    config = resolve_paths(arguments.config)
    distributed.join(arguments.distributed)
    from cnn_jax.sweeping import running  # JAX and TensorFlow load only once the command line is right
    from cnn_jax.sweeping.grid import Grid
    from cnn_jax.training.run.logs import Reporter

    grid = Grid(
        config,
        _distinct(arguments.freeze_until, config.train.freeze_until),
        _distinct(arguments.learning_rates, config.optimizer.learning_rate),
        _distinct(arguments.seeds, config.seed),
    )
    reporter = Reporter()
    sweep = running.run(grid, arguments.workdir or Path("runs") / f"{config.name}-sweep", reporter)
    _conclude(sweep, reporter)
    if sweep.stopped_by is not None:
        return EXIT_SIGTERM if sweep.stopped_by == signal.SIGTERM else EXIT_SIGINT
    return EXIT_FAILED if running.failures(sweep) else 0


def _check_flags(arguments: Arguments, argv: Sequence[str]) -> None:
    """ConfigError where there is nothing to compare, or a value is given twice."""
    given = (arguments.freeze_until, arguments.learning_rates, arguments.seeds)
    for (own, others), values in zip(TWICE.items(), given, strict=True):
        for other in others:
            if values is not None and command_line.flag(argv, other) is not None:
                raise ConfigError(f"{own} and --{other} say the same: give one of them")
    if given == (None, None, None):
        raise ConfigError(
            "nothing to compare: give --freeze-until with names of layers, none or head; --learning-rates, or --seeds"
        )


def _distinct(values: tuple[Any, ...] | None, default: object) -> tuple[Any, ...]:
    """The values without repetition, or the experiment's own."""
    return (default,) if values is None else tuple(dict.fromkeys(values))


def _conclude(sweep: "Sweep", reporter: "Reporter") -> None:
    """Print the table and what follows from it; write the page."""
    from cnn_jax.io.escaping import printable
    from cnn_jax.sweeping import console, page, rows, running
    from cnn_jax.training.run.processes import is_main

    found = sweep.rows
    chosen = rows.best(found)
    reporter.line("")
    reporter.table(console.table(found, chosen))
    reporter.line("")
    for line in console.legend(found):
        reporter.line(line)
    for run, error in running.failures(sweep):
        where = f"{run.freeze_until}, learning rate {run.learning_rate:g}, seed {run.seed}"
        reporter.line(f"failed     {where}: {printable(error)}")
    for line in console.verdict(found, chosen):
        reporter.line(line)
    if is_main():
        try:
            written = page.write(sweep)
            reporter.line(f"written    {written}, {page.PICTURE}, sweep.json")
        except Exception as error:  # the runs and sweep.json are whole without it
            reporter.line(f"written    sweep.json; {page.PAGE} not: {type(error).__name__}: {error}")
    if sweep.stopped_by is not None:
        reporter.line(f"stopped    {sweep.count('open')} runs are left; the same command goes on from there")
    elif chosen is not None:
        reporter.line(f"next       python -m cnn_jax.evaluate --checkpoint={chosen.best_run.directory}")


def _supervise(argv: Sequence[str]) -> int:
    return supervision.supervise([sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    supervision.end_with_parent()
    command_line.run(main if supervision.is_alone() else _supervise)
