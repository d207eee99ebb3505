"""Name what is on images, with a run of one's own, an exported file or a pretrained network as it is.

    python -m cnn_jax.predict photos/*.jpg --checkpoint=runs/mobilenet_ft
    python -m cnn_jax.predict photos/*.jpg --checkpoint=runs/mobilenet_ft/mobilenet_ft.tflite
    python -m cnn_jax.predict photos --model.name=mobilenet --model.weights=imagenet

Takes files, folders and quoted patterns. With --output=FILE.csv or FILE.jsonl, any number of images is streamed into
the file. Every file of a folder is a row: what has no image's suffix is told by its content, and what cannot be read is
a row with the reason.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import tyro

from cnn_jax.api import inference
from cnn_jax.cli import command_line
from cnn_jax.errors import EXIT_FAILED, ConfigError
from cnn_jax.io.escaping import printable
from cnn_jax.io.writing import replacing, writing
from cnn_jax.weights.options import PretrainedConfig

if TYPE_CHECKING:
    from cnn_jax.data.paths import Found
    from cnn_jax.evaluation.classifier import Classifier, FileResult
    from cnn_jax.training.run.logs import Reporter

HEADER = ("path", "rank", "class_index", "class_name", "probability")
SUFFIXES = (".csv", ".jsonl")


@dataclass(frozen=True)
class Arguments:
    """What to look at, and with what."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, folders (with all that is below), or quoted patterns such as 'photos/**/*.jpg'."""
    checkpoint: Path | None = None
    """A run directory (its best checkpoint is used), one of the folders in its `checkpoints`, or an exported file."""
    top: int = 5
    """Classes an image, the most probable first."""
    threshold: float = 0.0
    """Below this probability of the most probable class, the answer is `not sure`."""
    other: float | None = None
    """Take so large a share of the validation images for known, such as 0.95: what is farther from the training images
    is none of the classes. For a run that `evaluate --features` has been told of."""
    output: Path | None = None
    """FILE.csv or FILE.jsonl to write; None prints."""
    model: PretrainedConfig = field(default_factory=PretrainedConfig)

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ConfigError(f"--top={self.top} is not possible: it must be at least 1")
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"--threshold={self.threshold} is not possible: it must be between 0 and 1")
        if self.other is not None and not 0 < self.other < 1:
            raise ConfigError(f"--other={self.other} is not possible: it must be above 0 and below 1, such as 0.95")
        if self.other is not None and self.checkpoint is None:
            raise ConfigError("--other is for a run, which knows its training images: give one as --checkpoint")
        if self.output is not None and self.output.suffix not in SUFFIXES:
            raise ConfigError(f"--output={self.output}: the name must end with {' or '.join(SUFFIXES)}")
        if not self.paths:
            raise ConfigError("which images? Give files, folders or patterns")
        inference.check_one(self.checkpoint, self.model)


def main(argv: Sequence[str]) -> int:
    """Parse the command line, classify, print or write; returns the exit code."""
    arguments = command_line.parse(Arguments, argv, command="predict", description=__doc__)
    from cnn_jax.data.paths import everything  # JAX and TensorFlow load only once the flags are right
    from cnn_jax.training.run.logs import Reporter

    found, reporter = everything(arguments.paths), Reporter()
    doubt = arguments.threshold, arguments.other
    classifier = inference.open_classifier(arguments.checkpoint, arguments.model, reporter.line, *doubt)
    refused = _refused(found, reporter)
    unreadable = 0
    with _writer(arguments, classifier) as write, reporter.bar("predict", len(found), "images") as bar:
        for result in _results(classifier, [path for path, _ in found], refused):
            unreadable += result.error is not None
            write(result)
            bar.advance(1)
    if arguments.output is not None:
        reporter.line(f"written    {arguments.output}: {len(found) - unreadable} images")
    if unreadable:
        print(f"{unreadable} of {len(found)} images could not be read", file=sys.stderr)
    return EXIT_FAILED if unreadable == len(found) else 0


def _refused(found: "Sequence[Found]", reporter: "Reporter") -> dict[str, str]:
    """Why what is no image, by name and content, is none, by its path; how many there are is said."""
    from cnn_jax.data.paths import why_no_image
    from cnn_jax.data.sources import left_out

    kinds = {path: kind for path, kind in found if kind}
    reasons = {path: why_no_image(path, kind) for path, kind in kinds.items()}
    refused = {path: reason for path, reason in reasons.items() if reason}
    if refused:
        count = left_out.summary({path: kinds[path] for path in refused})
        reporter.line(f"files      {len(refused):,} are no images that are read: {count}; each has a row that says why")
    return refused


def _results(classifier: "Classifier", paths: Sequence[str], refused: dict[str, str]) -> "Iterator[FileResult]":
    """A result for each path, in this order."""
    from cnn_jax.evaluation.classifier import FileResult

    results = classifier.files([path for path in paths if path not in refused])
    for path in paths:
        yield FileResult(path, None, refused[path]) if path in refused else next(results)


def rows(result: "FileResult", classifier: "Classifier", count: int) -> list[dict[str, Any]]:
    """The `count` most probable classes as rows with the fields of `header`, or one row with the path and the error."""
    from cnn_jax.evaluation.classifier import top

    if result.probabilities is None:
        return [{"path": result.path, "error": result.error}]
    best, doubt = top(result.probabilities, count), classifier.doubt
    more: dict[str, Any] = {"answer": doubt.answer(result, classifier.classes)} if doubt.doubts else {}
    if result.distance is not None:
        more["distance"] = result.distance
    return [
        dict(zip(HEADER, (result.path, rank, index, classifier.classes[index], probability), strict=True)) | more
        for rank, (index, probability) in enumerate(best, start=1)
    ]


@contextmanager
def _writer(arguments: Arguments, classifier: "Classifier") -> Iterator[Callable[["FileResult"], None]]:
    """A function that prints a result, or writes it to the file, which appears when all is written."""
    if arguments.output is None:
        yield lambda result: _print(rows(result, classifier, arguments.top))
        return
    with (
        writing(f"--output={arguments.output}"),
        replacing(arguments.output) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        write = _csv_writer(file, _header(arguments)) if arguments.output.suffix == ".csv" else _json_writer(file)
        yield lambda result: write(rows(result, classifier, arguments.top))


def _header(arguments: Arguments) -> tuple[str, ...]:
    """The names of the columns."""
    answer = ("answer",) if arguments.threshold or arguments.other is not None else ()
    return (*HEADER, *answer, *(("distance",) if arguments.other is not None else ()))


def _csv_writer(file: IO[str], header: Sequence[str]) -> Callable[[list[dict[str, Any]]], None]:
    writer = csv.writer(file)  # lines end with \r\n, since a name's \r is quoted only where it is part of that
    writer.writerow(header)

    def write(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            cells = {**row, "class_name": f"error: {row['error']}"} if "error" in row else row
            writer.writerow([cells.get(name, "") for name in header])

    return write


def _json_writer(file: IO[str]) -> Callable[[list[dict[str, Any]]], None]:
    def write(rows: list[dict[str, Any]]) -> None:
        file.writelines(json.dumps(row) + "\n" for row in rows)

    return write


def _print(rows: list[dict[str, Any]]) -> None:
    answer = rows[0].get("answer")
    far = f" (distance {rows[0]['distance']:.3f})" if "distance" in rows[0] else ""
    print(printable(rows[0]["path"]) + (f": {printable(answer)}{far}" if answer is not None else ""))
    for row in rows:
        if "error" in row:
            print(f"  cannot be read: {printable(row['error'])}")
        else:
            print(f"  {row['probability']:.4f}  {printable(row['class_name'])}")


if __name__ == "__main__":
    command_line.run(main)
