"""An export from the run to its record: convert, put in place, check, and say what came of it."""

import contextlib
import json
import tempfile
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cnn_jax.errors import EXIT_FAILED, RunError, UserError
from cnn_jax.exporting import checking, conversion, losses, record
from cnn_jax.exporting.checking import Reference
from cnn_jax.exporting.description import Description
from cnn_jax.exporting.formats import FORMATS, FormatName
from cnn_jax.exporting.images import RunImages
from cnn_jax.exporting.record import Row
from cnn_jax.exporting.table import EXPLAINED, loses, table, verdict
from cnn_jax.io.escaping import printable
from cnn_jax.io.writing import is_remote, write_atomically
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.trained_run import TrainedRun

LABELS = "labels.txt"
Targets = dict[FormatName, Path]
"""Where the file of each format goes."""


@dataclass(frozen=True)
class Choices:
    """How an export is made and checked; see the flags of `cnn_jax.export`."""

    check_images: int
    calibration_images: int
    seed: int
    dataset: str | None


def export(run: TrainedRun, targets: Targets, choices: Choices, reporter: Reporter) -> int:
    """Write the files, check them, write export.json and say all of it; returns the exit code.

    It is 1 where a file in float32 or float16 differs from the run by more than rounding does.

    Raises:
        UserError: images that int8 cannot do without, or files that cannot be written.
        RunFailed: a converter failed.
    """
    description = Description(run.config.name, run.classes, run.resize, run.config.data.background)
    images = _images(run, targets, choices, reporter)
    first = next(iter(targets.values()))
    with tempfile.TemporaryDirectory(prefix="cnn_jax-") as folder:
        files = _convert(run, list(targets), description, Path(folder), images, choices, reporter)
        sizes = {name: conversion.size_of(path) for name, path in files.items()}
        for name, path in files.items():
            with _writing(targets[name]):
                conversion.put(path, targets[name])
        with _writing(first.parent / LABELS):
            _write_labels(first, run.classes)
        checked = _check(run, files, images, choices, reporter) if choices.check_images else {}
    rows = {path.name: record.row(name, sizes[name], description, checked.get(name)) for name, path in targets.items()}
    with _writing(first.parent / record.FILE):
        record.add(first.parent, rows)
    return _tell(run, targets, rows, reporter)


def _images(run: TrainedRun, targets: Targets, choices: Choices, reporter: Reporter) -> RunImages | None:
    """The run's data set; None where it is not there, and nothing needs it."""
    if not choices.check_images and "litert-int8" not in targets:
        return None
    try:
        return RunImages.of(run, choices.dataset, choices.seed)
    except UserError as error:
        if "litert-int8" in targets or choices.dataset is not None:
            raise
        reason = " ".join(str(error).split())
        reporter.line(f"images     not there: {printable(reason)}")
        reporter.line("           so files are compared with the run on made-up images, and no accuracy is measured")
        return None


def _convert(
    run: TrainedRun,
    names: list[FormatName],
    description: Description,
    folder: Path,
    images: RunImages | None,
    choices: Choices,
    reporter: Reporter,
) -> Targets:
    """Write the files into a temporary folder."""
    calibration: UInt8[np.ndarray, "n h w 3"] | None = None
    if "litert-int8" in names:
        assert images is not None, "which `_images` raises for"
        calibration = images.to_calibrate(choices.calibration_images)
        reporter.line(f"calibrate  on {len(calibration):,} training images")

    def say(name: str) -> None:
        reporter.line(f"convert    {name}")

    return conversion.convert(names, run.model, run.variables, description, folder, calibration, say)


def _check(
    run: TrainedRun, files: Targets, images: RunImages | None, choices: Choices, reporter: Reporter
) -> dict[FormatName, Row]:
    """Run each file, and the run itself, on the same images."""
    if images is None:
        reference = Reference.made_up(run)
    else:
        reference = Reference.of(run, *images.to_check(choices.check_images), reporter)
    found = {}
    with reporter.bar("check", len(files) * len(reference.pixels), "images") as bar:
        for name, path in files.items():
            found[name] = checking.check(name, path, reference, lambda count: bar.advance(count, items=count))
    if loses(found.get("litert-int8")):
        reporter.line("compare    the layers of litert-int8 with those in float32")
        found["litert-int8"]["layers"] = _losses(run, files, reference.pixels)
    return found


def _losses(run: TrainedRun, files: Targets, images: UInt8[np.ndarray, "n h w 3"]) -> list[Row]:
    """The layers that lose most in int8; the file in float32 is made where it was not asked for."""
    with tempfile.TemporaryDirectory(prefix="cnn_jax-") as folder:
        if "litert" not in files:
            plain = Description(run.config.name, run.classes, run.resize)
            only: list[FormatName] = ["litert"]
            made = conversion.convert(only, run.model, run.variables, plain, Path(folder), None, lambda name: None)
            files = {**files, **made}
        found = losses.by_layer(files["litert"], files["litert-int8"], images)
    return [asdict(loss) for loss in found[: losses.SHOWN]]


def _write_labels(path: Path, classes: tuple[str, ...]) -> None:
    """labels.txt, a name a line; beside another network's, or with line breaks in names, a list for this file alone."""
    text, labels = "\n".join(classes) + "\n", path.with_name(LABELS)
    if tuple(text.splitlines()) != classes:
        write_atomically(path.with_name(f"{path.name}.classes.json"), json.dumps(classes, indent=1))
    elif labels.exists() and labels.read_bytes() != text.encode():
        write_atomically(path.with_suffix(".labels.txt"), text)
    else:
        write_atomically(labels, text)


def _tell(run: TrainedRun, targets: Targets, rows: dict[str, Row], reporter: Reporter) -> int:
    """What was written, how it is used, and how it did; returns the exit code."""
    for path in targets.values():
        reporter.line(f"written    {printable(str(path))} ({rows[path.name]['bytes'] / 1e6:.2f} MB)")
    height, width, _ = run.model.image_shape
    background = run.config.data.background
    reporter.line(f"resize     {run.resize}, as in training, before you hand images over")
    reporter.line(
        f"colours    upright by EXIF, transparency {'dropped' if background == 'drop' else f'on {background}'}"
    )
    reporter.line(
        f"takes      images [b, {height}, {width}, 3] of 0 to 255; gives probabilities [b, {len(run.classes)}] in the "
        f"order of {LABELS}"
    )
    if run.model.takes_grey and not {"keras", "keras-h5"}.isdisjoint(targets):
        reporter.line(f"           Keras' files: grey images [b, {height}, {width}, 1]")
    for name, path in targets.items():
        if is_remote(path):
            reporter.line(f"fetch      gcloud storage cp {path} .")
        shown = Path(path.name) if is_remote(path) else path
        reporter.line(f"use        {FORMATS[name].usage.format(path=str(shown))}")
    checked = {name: row["checked"] for name, row in rows.items() if row["checked"] is not None}
    if not checked:
        return 0
    reporter.table(table(rows))
    reporter.line(EXPLAINED)
    if next(iter(targets.values())).parent == run.directory:
        reporter.line(f"report     python -m cnn_jax.evaluate --checkpoint={run.directory} puts this table into it")
    for file, row in checked.items():
        if said := verdict(file, row):
            reporter.line(f"{'warning' if row['fine'] else 'fault':<11}{printable(said)}")
    return 0 if all(row["fine"] for row in checked.values()) else EXIT_FAILED


@contextlib.contextmanager
def _writing(path: Path) -> Generator[None, None, None]:
    """While `path` is written: an error of the file system becomes RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(f"--output={path} cannot be written: {error.strerror or error}") from error
