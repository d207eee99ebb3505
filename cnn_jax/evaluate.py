"""Measure a trained run on every example of a split.

    python -m cnn_jax.evaluate --checkpoint=runs/mobilenet_ft

Needs nothing but the run directory and the images. Writes evaluation-<split>.json into it and prints a table.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn_jax import cli, distributed
from cnn_jax.distributed import DistributedArguments
from cnn_jax.errors import ConfigError
from cnn_jax.files import write_atomically

if TYPE_CHECKING:
    from cnn_jax.training.logs import Reporter
    from cnn_jax.training.runs import TrainedRun


@dataclass(frozen=True)
class DataArguments:
    """Other images than the ones of the run."""

    dataset: str | None = None
    """`folder:DIR`, `tfds:NAME[:CONFIG]` or `digits`; None is the run's own data set and its recorded splits."""
    classes: tuple[str, ...] | None = None
    """The classes of that data set to use; None is all of them."""
    batch_size: int | None = None
    """Images in a step; None is the run's `data.eval_batch_size`. The results do not depend on it."""

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"data.batch_size={self.batch_size} is not possible: it must be at least 1")


@dataclass(frozen=True)
class Arguments:
    """Flags of this door."""

    checkpoint: Path
    """A run directory (its best checkpoint is used), or one of the folders in its `checkpoints`."""
    split: str | None = None
    """train, validation or test; None is validation where there is one, else all images."""
    output: Path | None = None
    """The JSON file to write; None is evaluation-<split>.json in the run directory."""
    data: DataArguments = field(default_factory=DataArguments)
    distributed: DistributedArguments = field(default_factory=DistributedArguments)


def main(argv: Sequence[str]) -> int:
    """Parse the command line, evaluate, write the JSON and print the table; returns the exit code."""
    arguments = cli.parse(
        Arguments, argv, door="evaluate", description="Measure a trained run on every example of a split."
    )
    distributed.join(arguments.distributed)
    from cnn_jax.evaluation.tables import evaluation_tables  # JAX and TensorFlow load only once the flags are right
    from cnn_jax.training import runs
    from cnn_jax.training.logs import Reporter
    from cnn_jax.training.processes import is_main

    reporter = Reporter()
    run = runs.load(arguments.checkpoint)
    split, evaluation = evaluate_run(run, arguments.split, arguments.data, reporter)
    for table in evaluation_tables(evaluation):
        reporter.table(table)
    low, high = evaluation["accuracy_ci95"]
    reporter.line(
        f"{split}: {evaluation['n']} images, accuracy {evaluation['accuracy']:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f}), loss {evaluation['loss']:.4f}, checkpoint of step {run.step}"
    )
    output = arguments.output or run.directory / f"evaluation-{split}.json"
    if is_main():
        write_atomically(output, json.dumps(evaluation, indent=2))
    reporter.line(f"written    {output}")
    return 0


def evaluate_run(
    run: "TrainedRun", split: str | None, data: DataArguments, reporter: "Reporter"
) -> tuple[str, dict[str, Any]]:
    """Name of the evaluated split, and its metrics (see `cnn_jax.evaluation.metrics.summarise`).

    Raises:
        UserError: images or classes that do not fit the run, or a split that does not exist.
    """
    from cnn_jax.data import sources, splits
    from cnn_jax.data.stream import evaluation_batches
    from cnn_jax.evaluation.evaluator import predict_all
    from cnn_jax.evaluation.metrics import summarise
    from cnn_jax.training.mesh import Mesh
    from cnn_jax.training.step import make_predict

    config = replace(run.config.data, classes=data.classes)
    if data.dataset is None:
        dataset = splits.read(sources.open_dataset(run.config.data), run.directory / "split.json")
    else:
        dataset = sources.open_dataset(replace(config, dataset=data.dataset))
    dataset = sources.align_classes(dataset, run.classes, str(run.directory))
    chosen = split or ("validation" if "validation" in dataset.splits else next(iter(dataset.splits)))
    if chosen not in dataset.splits:
        raise ConfigError(f"--split={split}: {dataset.name} has no such split; it has: {', '.join(dataset.splits)}")
    examples = dataset.splits[chosen]
    batch_size, mesh = data.batch_size or config.eval_batch_size, Mesh.create()
    mesh.check_batch_size(batch_size, "data.batch_size")
    predict, variables = make_predict(run.model, mesh), mesh.replicate(run.variables)
    place = mesh.process, mesh.processes
    parts = evaluation_batches(examples, run.model.image_size, batch_size, *place)
    with reporter.bar(f"evaluate {chosen}", len(examples), "images") as bar:
        predictions = predict_all(
            lambda images: predict(variables, mesh.put_batch(images)),
            mesh.with_all_labels(parts),
            lambda images: bar.advance(images, items=images),
        )
    return chosen, summarise(predictions, run.classes)


if __name__ == "__main__":
    cli.run_door(main)
