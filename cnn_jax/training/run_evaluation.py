"""Evaluate a trained run: the images that are asked for, what the run says of them, and the record of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Array, Float32, Int32, Int64, UInt8

from cnn_jax.data import sources, splits
from cnn_jax.data.sources import Dataset, Split
from cnn_jax.data.stream import evaluation_batches, unreadable
from cnn_jax.errors import ConfigError, DataError, RunError
from cnn_jax.evaluation.comparison import compare
from cnn_jax.evaluation.evaluator import flip_averaged, predict_all
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.evaluation.options import OWN_DATA, DataOptions
from cnn_jax.evaluation.record import Evaluation, summarise
from cnn_jax.training.features.kept_predictions import KeptPredictions
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.step import make_predict
from cnn_jax.training.trained_run import TrainedRun


def evaluate_run(
    run: TrainedRun,
    reporter: Reporter,
    split: str | None = None,
    data: DataOptions = OWN_DATA,
    flip_averaging: bool = False,
    other: TrainedRun | None = None,
    recompute: bool = False,
) -> Evaluation:
    """What `run` says of every example of a split, and all metrics of it.

    Args:
        split: None is validation where there is one, else test, else all images of a data set that comes in one piece.
        flip_averaging: see `cnn_jax.evaluation.evaluator.flip_averaged`; for the other run too.
        other: a run to compare with, on the same examples.
        recompute: run the networks also on images of which it is kept what they said.

    Raises:
        UserError: images or classes that do not fit the run or the other one, a split that does not exist, or
            weights that give no numbers.
    """
    dataset = sources.align_classes(open_data(run, data), run.classes, str(run.directory))
    for place, note in enumerate(dataset.notes):
        reporter.line(f"{'' if place else 'data':<11}{note}")
    name = split or measured_on(dataset, run, data)
    examples = _split(dataset, name)
    other_labels = None if other is None else _labels_in(other, run.classes, examples)
    left_out: list[str] = []
    if data.unreadable == "skip":
        bad = unreadable(examples)
        left_out = [examples.ids[index] for index in bad]
        examples = examples.take(np.setdiff1d(np.arange(len(examples)), bad))
    settings = Settings(data.batch_size, flip_averaging, recompute)
    predictions = predict(run, examples, reporter, f"evaluate {name}", settings)
    evaluation = summarised(run, dataset.name, name, examples, predictions, flip_averaging, left_out)
    if dataset.left_out:
        evaluation.record["left_out"] = dataset.left_out
    if other is not None and other_labels is not None:
        relabelled = replace(examples, labels=other_labels[examples.labels])
        others = predict(other, relabelled, reporter, f"compare {name}", settings)
        evaluation.record["comparison"] = _comparison(other, dataset.name, examples.ids, evaluation.predictions, others)
    return evaluation


@dataclass(frozen=True)
class Settings:
    """How a run is asked."""

    batch_size: int | None = None
    """None is the run's `data.eval_batch_size`."""
    flip_averaging: bool = False
    """See `cnn_jax.evaluation.evaluator.flip_averaged`."""
    recompute: bool = False
    """Run the network also on images of which it is kept what it said."""


def predict(
    run: TrainedRun, examples: Split, reporter: Reporter, what: str, settings: Settings = Settings()
) -> Predictions:
    """What `run` says of these examples, whose labels count in its classes; on all devices.

    What it has said before is read from the cache folder, and said to be.

    Args:
        what: the name of the progress bar.

    Raises:
        UserError: an image that cannot be read, or weights that give no numbers.
    """
    kept = None if settings.recompute else KeptPredictions(run, examples, settings.flip_averaging)
    if kept is None:
        logits, missing = np.empty((len(examples), len(run.classes)), np.float32), np.arange(len(examples))
    else:
        logits, missing = kept.read()
    known = len(examples) - len(missing)
    if known:
        reporter.line(
            f"kept       what the network said of {known:,} of {len(examples):,} images, in training or an earlier "
            "evaluation; --recompute runs it again"
        )
    if len(missing):
        logits[missing] = _run(run, examples.take(missing), reporter, what, settings)
    predictions = Predictions(logits, np.asarray(examples.labels, np.int32))
    _require_numbers(run, examples, predictions)
    if kept is not None:
        _add(kept, missing, logits, reporter)
    return predictions


def remember(run: TrainedRun, examples: Split, predictions: Predictions, reporter: Reporter) -> None:
    """Keep what `run` says of these examples, for `predict`; raises RunError where that is no numbers."""
    _require_numbers(run, examples, predictions)
    kept = KeptPredictions(run, examples, flip_averaging=False)
    _add(kept, kept.read()[1], predictions.logits, reporter)


def _add(
    kept: KeptPredictions,
    missing: Int64[np.ndarray, " m"],
    logits: Float32[np.ndarray, "n classes"],
    reporter: Reporter,
) -> None:
    reason = kept.add(missing, logits[missing])
    if reason:
        reporter.line(f"           what the network says is not kept for the next evaluation: {reason}")


def summarised(
    run: TrainedRun,
    dataset: str,
    split: str,
    examples: Split,
    predictions: Predictions,
    flip_averaging: bool = False,
    left_out: Sequence[str] = (),
) -> Evaluation:
    """All metrics of what `run` says of these examples.

    Args:
        dataset: the name of the data set that they are of.
        split: and of the split.
        left_out: names of images that are not among them because they cannot be read.
    """
    record = {
        "dataset": dataset,
        "split": split,
        "checkpoint_step": run.step,
        "flip_averaging": flip_averaging,
        "unreadable": list(left_out),
        **summarise(predictions, run.classes, examples.ids),
    }
    return Evaluation(split, examples, predictions, record)


def open_data(run: TrainedRun, data: DataOptions = OWN_DATA) -> Dataset:
    """The data set that the options ask for, with its own classes."""
    config = replace(run.config.data, exclude=None)  # split.json has what it left
    if data.dataset is not None:
        return sources.open_dataset(data.chosen(config))
    dataset = splits.read(sources.open_dataset(config), run.directory / "split.json")
    chosen = replace(config, classes=data.classes).classes  # which checks them
    return dataset if chosen is None else sources.select_classes(dataset, chosen, "data.classes")


def measured_on(dataset: Dataset, run: TrainedRun, data: DataOptions = OWN_DATA) -> str:
    """The split to evaluate where none is named.

    Raises:
        ConfigError: there are only images that the run was trained on.
    """
    name = next((name for name in ("validation", "test") if name in dataset.splits), next(iter(dataset.splits)))
    if name == "train" and data.dataset is None:
        raise ConfigError(
            f"{run.directory} was trained on all of its images, without validation or test: name others with "
            "--data.dataset, or measure what it learnt by heart with --split=train"
        )
    return name


def _split(dataset: Dataset, name: str) -> Split:
    if name not in dataset.splits:
        raise ConfigError(f"--split={name}: {dataset.name} has no such split; it has: {', '.join(dataset.splits)}")
    if not len(dataset.splits[name]):
        raise DataError(f"--split={name}: {dataset.name} has no images of these classes there")
    return dataset.splits[name]


def _labels_in(other: TrainedRun, classes: tuple[str, ...], examples: Split) -> Int32[np.ndarray, " classes"]:
    """For each label in `classes` the one of the same name in the other run, -1 where there are no examples of it.

    Raises:
        DataError: there are examples of a class that the other run does not know.
    """
    position = {name: label for label, name in enumerate(other.classes)}
    unknown = [classes[label] for label in np.unique(examples.labels) if classes[label] not in position]
    if unknown:
        raise DataError(
            f"--compare={other.directory} does not know the classes {', '.join(unknown)}. "
            f"It knows: {', '.join(other.classes)}. Leave the others out with --data.classes"
        )
    return np.asarray([position.get(name, -1) for name in classes], np.int32)


def _run(
    run: TrainedRun, examples: Split, reporter: Reporter, what: str, settings: Settings
) -> Float32[np.ndarray, "n classes"]:
    """The logits, or log-probabilities, of a run on all devices.

    Raises:
        DataError: an image cannot be read; the message names the file.
    """
    batch_size, mesh = settings.batch_size or run.config.data.eval_batch_size, Mesh.create()
    mesh.check_batch_size(batch_size, "data.batch_size")
    step, variables = make_predict(run.model, mesh), mesh.replicate(run.variables)

    parts = evaluation_batches(examples, run.resize, batch_size, mesh.process, mesh.processes)

    def logits(images: UInt8[np.ndarray, "part h w 3"]) -> Float32[Array, "b classes"]:
        return step(variables, mesh.put_batch(images))

    with reporter.bar(what, len(examples), "images") as bar:
        return predict_all(
            flip_averaged(logits) if settings.flip_averaging else logits,
            mesh.with_all_labels(parts),
            lambda images: bar.advance(images, items=images),
        ).logits


def _require_numbers(run: TrainedRun, examples: Split, predictions: Predictions) -> None:
    """Raise RunError where logits are no numbers."""
    finite = np.isfinite(predictions.logits).all(-1)
    if not finite.all():
        raise RunError(
            f"the checkpoint {run.step} of {run.directory} gives no numbers for {(~finite).sum()} of {len(finite)} "
            f"images, the first is {examples.ids[finite.argmin()]}: its training "
            "diverged, evaluate an earlier checkpoint"
        )


def _comparison(
    other: TrainedRun, dataset: str, ids: Sequence[str], first: Predictions, second: Predictions
) -> dict[str, Any]:
    return {
        "run": str(other.directory),
        "checkpoint_step": other.step,
        "trained_on": _trained_on(other, dataset, ids),
        **compare(first.right, second.right),
    }


def _trained_on(run: TrainedRun, dataset: str, ids: Sequence[str]) -> int | None:
    """How many of these examples were training examples of the run; None where its record is gone."""
    recorded = run.directory / "split.json"
    if run.config.data.dataset != dataset:
        return 0
    if not recorded.exists():
        return None
    return len(set(ids) & set(splits.read_ids(recorded).get("train", ())))
