"""report.html: everything that is known of a run, in one file."""

from pathlib import Path
from typing import Any

from cnn_jax import html
from cnn_jax.data.sources import Split
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.files import write_atomically
from cnn_jax.report import augmentation, calibration, cases, curves, galleries, network, record, tables
from cnn_jax.training.runs import TrainedRun

FILE = "report.html"


def write(run: TrainedRun, split: str, examples: Split, predictions: Predictions, evaluation: dict[str, Any]) -> Path:
    """Write report.html into the run directory.

    Args:
        run: the checkpoint that was measured.
        split: the name of what it was measured on.
        examples: the split itself, for the photographs.
        predictions: of every example, in the order of the split.
        evaluation: what evaluation-<split>.json holds of them.

    Returns:
        The file.

    Raises:
        OSError: the run directory cannot be written.
        DataError: an image can no longer be read.
    """
    path = run.directory / FILE
    write_atomically(path, html.render("report.html", **view(run, split, examples, predictions, evaluation)))
    return path


def view(
    run: TrainedRun, split: str, examples: Split, predictions: Predictions, evaluation: dict[str, Any]
) -> dict[str, Any]:
    """The sections of the page by name, as the template takes them; arguments as for `write`."""
    known = record.read(run, split, evaluation)
    describer = galleries.Describer(examples, predictions, run.classes)
    return {
        "title": run.directory.absolute().name,
        "script": html.script("report.js"),
        "split": split,
        "dataset": known.get(known.evaluation, "dataset"),
        "step": run.step,
        "missing": known.missing,
        "evaluation_file": known.evaluation,
        "augmented": augmentation.augmentation(run, examples),
        "headline": tables.headline(known),
        "curves": curves.curves(known),
        "confusion": galleries.confusion(known, examples, describer, run.resize),
        "cases": cases.cases(run, known, examples, describer),
        "classes": tables.classes(known),
        "calibration": calibration.calibration(known),
        "network": network.network(run, known),
        "settings": tables.configuration(run.config),
        "versions": tables.versions(run),
        "timing": tables.timing(known),
    }
