"""An evaluation as it is written: `evaluation-<split>.json`, and the predictions themselves beside it."""

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.sources import Split
from cnn_jax.evaluation.calibration import calibration
from cnn_jax.evaluation.metrics import (
    Predictions,
    accuracy_and_loss,
    scores_by_class,
    top_k_accuracy,
    wilson_interval,
)
from cnn_jax.io.files import parse_json, read_text
from cnn_jax.io.writing import write_atomically

MOST_MISTAKES = 50
"""In the record, the most confident first."""
MOST_BYTES = 2**31
"""Of predictions that are read: 500 million logits."""


@dataclass(frozen=True)
class Evaluation:
    """What a run says of every example of a split."""

    split: str
    examples: Split
    """In the order of `predictions`; labels count in the classes of the run."""
    predictions: Predictions
    record: dict[str, Any]
    """What `evaluation-<split>.json` holds."""


@dataclass(frozen=True)
class Named:
    """Predictions as they were written, with the names of the examples and of the classes."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    predictions: Predictions


def summarise(predictions: Predictions, classes: tuple[str, ...], ids: Sequence[str]) -> dict[str, Any]:
    """All that follows from the predictions alone, as JSON can hold it; what is undefined is None.

    Args:
        ids: the names of the examples.
    """
    return {
        "n": len(predictions.labels),
        **accuracy_and_loss(predictions),
        "accuracy_ci95": wilson_interval(int(predictions.right.sum()), len(predictions.labels)),
        "top5_accuracy": top_k_accuracy(predictions, 5),
        **scores_by_class(predictions, classes),
        "calibration": calibration(predictions),
        "mistakes": mistakes(predictions, classes, ids),
    }


def mistakes(predictions: Predictions, classes: tuple[str, ...], ids: Sequence[str]) -> list[dict[str, Any]]:
    """The wrong predictions with the highest probability, `MOST_MISTAKES` of them, equals in the order of the data."""
    confidence = predictions.probability_of(predictions.predicted)
    true_probability = predictions.probability_of(predictions.labels)
    wrong = np.flatnonzero(~predictions.right)
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")[:MOST_MISTAKES]]
    return [
        {
            "id": ids[i],
            "true": classes[predictions.labels[i]],
            "predicted": classes[predictions.predicted[i]],
            "probability": float(confidence[i]),
            "true_probability": float(true_probability[i]),
        }
        for i in chosen
    ]


def write(evaluation: Evaluation, path: Path, predictions_path: Path) -> None:
    """Write the record as JSON, and the predictions as arrays for `numpy.load`.

    These are `ids` str[n], `labels` int32[n] and `logits` float32[n, classes], which with flip averaging are
    log-probabilities, and `classes` str[classes].
    """
    arrays = io.BytesIO()
    np.savez_compressed(
        arrays,
        ids=np.asarray(evaluation.examples.ids),
        labels=evaluation.predictions.labels,
        logits=evaluation.predictions.logits,
        classes=np.asarray(evaluation.record["classes"]),
    )
    write_atomically(predictions_path, arrays.getvalue())
    write_atomically(path, json.dumps(evaluation.record, indent=2, allow_nan=False))


def read_predictions(path: Path) -> Named:
    """What `write` has written as arrays.

    Raises:
        OSError: there is no such file.
        ValueError: it holds something else, or more than `MOST_BYTES`.
    """
    found = read_arrays(path, ("ids", "labels", "logits", "classes"))
    ids, labels, logits, classes = found.values()
    whole = logits.shape == (len(ids), len(classes)) and labels.shape == ids.shape == (len(ids),) and len(ids)
    kinds = [array.dtype.kind for array in found.values()]
    if not whole or kinds != ["U", "i", "f", "U"] or labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError("its arrays do not belong together")
    if not np.isfinite(logits).all():
        raise ValueError("its logits are no numbers")
    return Named(tuple(map(str, ids)), tuple(map(str, classes)), Predictions(logits, labels))


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an .npz, by their names; no objects, and no more than `MOST_BYTES` each.

    Raises:
        OSError: there is no such file.
        ValueError: they are not in it, or damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            return {name: _array(archive, f"{name}.npy") for name in names}
    except (zipfile.BadZipFile, KeyError, EOFError, MemoryError, NotImplementedError, zlib.error) as error:
        raise ValueError(f"it does not hold the arrays {', '.join(names)}: {error}") from error


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of no more bytes than the archive says, which are counted before any is unpacked."""
    size = archive.getinfo(name).file_size
    if size > MOST_BYTES:
        raise ValueError(f"its {name} has {size:,} bytes, more than {MOST_BYTES:,}")
    content = io.BytesIO(archive.read(name))
    array = np.lib.format.read_array(content)  # which takes no objects
    return np.asarray(array)


def read(path: Path) -> dict[str, Any]:
    """What `write` has written as JSON.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not the record of an evaluation.
    """
    found = parse_json(read_text(path))
    try:
        bins, ends = found["calibration"]["bins"], found["accuracy_ci95"]
        numbers = [found["accuracy"], found["loss"], found["calibration"]["ece"], *ends]
        numbers += [found["n"], found["checkpoint_step"], *(part["count"] for part in bins)]
        perhaps = [found["roc_auc"], found["macro"]["f1"], found["calibration"]["temperature"]]
        perhaps += [part[key] for part in bins for key in ("confidence", "accuracy")]
        texts = [found["dataset"], *found["classes"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is no record of an evaluation: {error} is missing") from error
    whole = all(isinstance(number, int | float) for number in numbers) and len(ends) == 2
    whole = whole and all(isinstance(number, int | float | None) for number in perhaps)
    if not whole or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{path.name} is no record of an evaluation: what should be a number is none")
    return dict(found)
