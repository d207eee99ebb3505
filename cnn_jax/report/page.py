"""report.html: everything that is known of a run, in one file."""

from pathlib import Path
from typing import Any

from cnn_jax import html
from cnn_jax.data.sources import Split
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.io.writing import write_atomically
from cnn_jax.report import augmentation, calibration, cases, curves, formats, galleries, network, record, tables
from cnn_jax.training.trained_run import TrainedRun

FILE = "report.html"


def write(
    run: TrainedRun,
    split: str,
    examples: Split,
    predictions: Predictions,
    evaluation: dict[str, Any],
    output: Path | None = None,
) -> Path:
    """Write the report of a run as one HTML file.

    Args:
        run: the checkpoint that was measured.
        split: the name of what it was measured on.
        examples: the split itself, for the photographs.
        predictions: of every example, in the order of the split.
        evaluation: what the evaluation's JSON holds of them.
        output: that JSON file, for a report of the same name beside it; None is evaluation-<split>.json in the run
            directory, with report.html beside it. The network of a file has no such directory.

    Returns:
        The file.

    Raises:
        OSError: it cannot be written.
        DataError: an image can no longer be read.
    """
    path = run.directory / FILE if output is None else output.with_suffix(".html")
    name = f"evaluation-{split}.json" if output is None else output.name
    page = html.render("report.html", **view(run, name, split, examples, predictions, evaluation))
    write_atomically(path, page)
    return path


def write_unmeasured(run: TrainedRun, training: Split) -> Path:
    """The report of a run without validation images: what `write` says of it without an evaluation.

    Args:
        training: its training images.
    """
    path, known = run.directory / FILE, record.read(run.directory, run.config)
    write_atomically(path, html.render("report.html", **_of_run(run, known, training), headline=None))
    return path


def view(
    run: TrainedRun, name: str, split: str, examples: Split, predictions: Predictions, evaluation: dict[str, Any]
) -> dict[str, Any]:
    """The sections of the page, as the template takes them; `name` is of the evaluation's JSON, see `write`."""
    known = record.read(None if run.is_file else run.directory, run.config, name, evaluation)
    describer = galleries.Describer(examples, predictions, run.classes)
    return {
        **_of_run(run, known, examples),
        "split": split,
        "dataset": known.get(name, "dataset"),
        "evaluation_file": name,
        "headline": tables.headline(known),
        "confusion": galleries.confusion(known, examples, describer, run.resize),
        "cases": cases.cases(run, known, examples, describer),
        "classes": tables.classes(known),
        "calibration": calibration.calibration(known),
    }


def _of_run(run: TrainedRun, known: record.Record, examples: Split) -> dict[str, Any]:
    """The sections for which nothing has to be measured."""
    return {
        "title": run.directory.resolve().name,
        "script": html.script("report.js"),
        "dataset": run.config.data.dataset,
        "step": run.step,
        "trained": not run.is_file,
        "missing": known.missing,
        "augmented": augmentation.augmentation(run, examples),
        "curves": curves.curves(known),
        "network": network.network(run, known),
        "formats": formats.formats(known),
        "settings": tables.configuration(run.config),
        "versions": tables.versions(run),
        "timing": tables.timing(known),
    }
