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

from cnn_jax import STARTED
from cnn_jax.api.paths import resolve_paths
from cnn_jax.cli import command_line
from cnn_jax.config import Config
from cnn_jax.config.serialization import to_json
from cnn_jax.errors import EXIT_SIGINT, EXIT_SIGTERM
from cnn_jax.runtime import distributed
from cnn_jax.runtime.clock import Clock
from cnn_jax.runtime.distributed import DistributedArguments

if TYPE_CHECKING:
    from cnn_jax.training.run.logs import Reporter


@dataclass(frozen=True)
class Arguments:
    """Flags of this command, then the fields of the configuration."""

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
    arguments = command_line.parse_with_experiment(
        Arguments, argv, command="train", description=__doc__, usual=command_line.USUAL
    )
    config = resolve_paths(arguments.config)
    if arguments.print_config:
        print(to_json(config))
        return 0
    distributed.join(arguments.distributed)
    from cnn_jax.api.fitting import fit_and_report  # JAX loads only once the command line is right
    from cnn_jax.training.run.logs import Reporter

    reporter = Reporter()
    if arguments.find_learning_rate:
        return _find_learning_rate(config, arguments.workdir or Path("runs") / f"{config.name}-learning-rate", reporter)
    workdir = arguments.workdir or Path("runs") / config.name
    outcome = fit_and_report(config, workdir, reporter, Clock(STARTED), arguments.report)
    if outcome.result["status"] == "completed":
        command = "evaluate" if {"validation", "test"} & outcome.splits.keys() else "predict PHOTOS"
        reporter.line(f"next       python -m cnn_jax.{command} --checkpoint={workdir}")
    else:
        reporter.line(f"stopped    after step {outcome.result['steps']}, saved; the same command goes on from there")
    if outcome.stopped_by is None:
        return 0
    return EXIT_SIGTERM if outcome.stopped_by == signal.SIGTERM else EXIT_SIGINT


def _find_learning_rate(config: Config, folder: Path, reporter: "Reporter") -> int:
    from cnn_jax.training.learning_rate import find_learning_rate

    found = find_learning_rate(config, folder, reporter)
    reporter.line(f"written    {folder / 'learning_rate.png'}")
    reporter.line(f"suggestion --optimizer.learning_rate={found.suggestion:.1e}")
    return 0


if __name__ == "__main__":
    command_line.run(main)
