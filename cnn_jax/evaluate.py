"""Measure a trained run on every example of a split.

    python -m cnn_jax.evaluate --checkpoint=runs/mobilenet_ft
    python -m cnn_jax.evaluate --checkpoint=runs/mobilenet_ft --compare=runs/other --flip-averaging

Needs nothing but the run directory and the images. Prints tables, and writes evaluation-<split>.json, the predictions
themselves, predictions-<split>.npz, and report.html into the run directory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cnn_jax.api import inference
from cnn_jax.cli import command_line
from cnn_jax.config import DataConfig
from cnn_jax.errors import ConfigError
from cnn_jax.evaluation.options import DataOptions
from cnn_jax.io.files import can_hold
from cnn_jax.io.writing import writing
from cnn_jax.runtime import distributed
from cnn_jax.runtime.distributed import DistributedArguments
from cnn_jax.weights.options import PretrainedConfig

if TYPE_CHECKING:
    from cnn_jax.evaluation.record import Evaluation
    from cnn_jax.training.run.logs import Reporter
    from cnn_jax.training.trained_run import TrainedRun


@dataclass(frozen=True)
class Arguments:
    """Flags of this command."""

    checkpoint: Path | None = None
    """A run directory (its best checkpoint is used), or one of the folders in its `checkpoints`."""
    split: str | None = None
    """train, validation or test; None is validation where there is one, else test, else all images."""
    compare: Path | None = None
    """Another run, or checkpoint, to compare with on the same examples."""
    flip_averaging: bool = False
    """Take the mean of the probabilities of each image and its mirror image; it takes twice as long."""
    output: Path | None = None
    """The .json file to write, with an .npz and an .html (the report) beside it; None is evaluation-<split>.json in the
    run directory, with predictions-<split>.npz and report.html. Without a run it is here, and so is a report of its
    name."""
    recompute: bool = False
    """Run the network also on images of which it is kept what this checkpoint said, in training or an evaluation."""
    features: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also write features.npz into the run directory, by which `predict --other` tells images of none of the
    classes."""
    report: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Write the report: one page with everything that is known of the run, or of a file's network."""
    data: DataOptions = field(default_factory=DataOptions)
    model: PretrainedConfig = field(default_factory=PretrainedConfig)
    distributed: DistributedArguments = field(default_factory=DistributedArguments)

    def __post_init__(self) -> None:
        inference.check_one(self.checkpoint, self.model)
        if self.checkpoint is None and self.model.name != "keras":
            raise ConfigError(
                "which network? Give a run as --checkpoint, or a Keras file: --model.name=keras --model.weights"
            )
        if self.checkpoint is None and self.data.dataset is None:
            raise ConfigError("a file does not say on which images: give --data.dataset=folder:DIR")
        if self.checkpoint is None and self.features:
            raise ConfigError("--features is for a run, whose training images it knows: give one as --checkpoint")
        if self.output is not None and self.output.suffix != ".json":
            raise ConfigError(f"--output={self.output}: the name must end with .json")
        if self.output is not None and not can_hold(self.output):
            raise ConfigError(f"--output={self.output}: there is no folder {self.output.parent}")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, evaluate, print the tables and write the files; returns the exit code."""
    arguments = command_line.parse(Arguments, argv, command="evaluate", description=__doc__)
    distributed.join(arguments.distributed)
    from cnn_jax.training import trained_run  # JAX and TensorFlow load only once the flags are right
    from cnn_jax.training.run.logs import Reporter
    from cnn_jax.training.run.processes import is_main
    from cnn_jax.training.run_evaluation import evaluate_run

    reporter = Reporter()
    run = _of_file(arguments, reporter) if arguments.checkpoint is None else trained_run.load(arguments.checkpoint)
    other = None if arguments.compare is None else trained_run.load(arguments.compare)
    evaluation = evaluate_run(
        run, reporter, arguments.split, arguments.data, arguments.flip_averaging, other, arguments.recompute
    )
    show(evaluation, reporter)
    folder = Path() if arguments.checkpoint is None else run.directory
    output = arguments.output or folder / f"evaluation-{evaluation.split}.json"
    beside = f"predictions-{evaluation.split}" if arguments.output is None else output.stem
    if is_main():
        write(evaluation, output, output.with_name(f"{beside}.npz"), reporter)
    if arguments.features:
        _write_features(run, reporter)
    if arguments.report and is_main():
        from cnn_jax import report

        report.attempt(run, evaluation, reporter.line, output if run.is_file else arguments.output)
    return 0


def _write_features(run: "TrainedRun", reporter: "Reporter") -> None:
    from cnn_jax.training.features import known_features
    from cnn_jax.training.run.processes import is_main

    found = known_features.compute(run, reporter)
    if is_main():
        with writing(f"{run.directory}"):
            reporter.line(f"features   {found.write(run.directory)}: of {len(found.features):,} training images")


def _of_file(arguments: Arguments, reporter: "Reporter") -> "TrainedRun":
    """The network of a Keras file as if it were a run, of step 0."""
    from cnn_jax.training import trained_run

    loaded, classifier = inference.open_file(arguments.model, reporter.line)
    data = DataConfig(dataset=str(arguments.data.dataset), resize=arguments.model.resize)
    return trained_run.of_file(loaded, classifier.classes, data)


def show(evaluation: "Evaluation", reporter: "Reporter") -> None:
    """Print the tables, and the figures of the whole split at the end, where they are seen."""
    from cnn_jax.evaluation import tables

    record = evaluation.record
    for table in tables.evaluation_tables(record):
        reporter.table(table)
    for line in tables.evaluation_lines(record):
        reporter.line(line)
    if "comparison" in record:
        reporter.table(tables.comparison_table(record))
        for line in tables.comparison_lines(record):
            reporter.line(line)


def write(evaluation: "Evaluation", output: Path, predictions: Path, reporter: "Reporter") -> None:
    """Write both files and say where they are."""
    from cnn_jax.evaluation import record

    try:
        record.write(evaluation, output, predictions)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}; give another file with --output") from error
    reporter.line(f"written    {output}, {predictions.name}")


if __name__ == "__main__":
    command_line.run(main)
