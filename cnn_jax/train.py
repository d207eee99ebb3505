"""Train or fine-tune an image classifier.

    python -m cnn_jax.train --exp=mobilenet_ft --data.dataset=folder:photos

The experiment is a name from `experiments/` or the path of a Python file that defines `config`; every field of the
configuration is a flag. Started again with the same flags, a run goes on where it stopped.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cnn_jax import STARTED, cli, distributed
from cnn_jax.clock import Clock
from cnn_jax.config import Config
from cnn_jax.distributed import DistributedArguments
from cnn_jax.experiment import resolve_paths, to_json

if TYPE_CHECKING:
    from cnn_jax.training.logs import Reporter


@dataclass(frozen=True)
class Arguments:
    """Flags of this door, then the fields of the configuration."""

    exp: str
    """Name of an experiment, or path of a .py file that defines `config`."""
    augment: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Small random turns, shifts, zooms and mirror images, as courses do with ImageDataGenerator; the run's name gets
    `_augmented`. Not for images that mean something else in a mirror: --data.augment.horizontal_flip=False."""
    workdir: Path | None = None
    """Where the run is kept; None is runs/NAME."""
    print_config: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the configuration as JSON, and do nothing else."""
    find_learning_rate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Try learning rates from 1e-7 to 1 on the trainable layers, draw the loss, suggest one, and do nothing else."""
    report: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """At the end, measure the best checkpoint on the validation split, and write report.html; without such a split, the
    last checkpoint is kept, and nothing is measured."""
    distributed: DistributedArguments = field(default_factory=DistributedArguments)
    config: Annotated[Config, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = field(default_factory=Config)


def main(argv: Sequence[str]) -> int:
    """Parse the command line, train, print where the results are; returns the exit code."""
    arguments = cli.parse_with_experiment(Arguments, argv, door="train", description=__doc__, usual=cli.USUAL)
    config = resolve_paths(arguments.config)
    if arguments.print_config:
        print(to_json(config))
        return 0
    distributed.join(arguments.distributed)
    from cnn_jax.fitting import fit_and_report  # JAX loads only once the command line is right
    from cnn_jax.training.logs import Reporter

    reporter = Reporter()
    if arguments.find_learning_rate:
        return _find_learning_rate(config, arguments.workdir or Path("runs") / f"{config.name}-learning-rate", reporter)
    workdir = arguments.workdir or Path("runs") / config.name
    outcome = fit_and_report(config, workdir, reporter, Clock(STARTED), arguments.report)
    if outcome.result["status"] == "completed":
        door = "evaluate" if {"validation", "test"} & outcome.splits.keys() else "predict PHOTOS"
        reporter.line(f"next       python -m cnn_jax.{door} --checkpoint={workdir}")
    else:
        reporter.line(f"stopped    after step {outcome.result['steps']}, saved; the same command goes on from there")
    if outcome.stopped_by is None:
        return 0
    return cli.EXIT_SIGTERM if outcome.stopped_by == signal.SIGTERM else cli.EXIT_SIGINT


def _find_learning_rate(config: Config, folder: Path, reporter: "Reporter") -> int:
    from cnn_jax.training.learning_rate import find_learning_rate

    found = find_learning_rate(config, folder, reporter)
    reporter.line(f"written    {folder / 'learning_rate.png'}")
    reporter.line(f"suggestion --optimizer.learning_rate={found.suggestion:.1e}")
    return 0


if __name__ == "__main__":
    cli.run_door(main)
