"""What a comparison takes of each run: nothing but what its directory holds already."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnn_jax.comparing import table
from cnn_jax.comparing.table import Row
from cnn_jax.config import Config, flags
from cnn_jax.config.serialization import from_json
from cnn_jax.errors import RunError
from cnn_jax.evaluation import record as evaluations
from cnn_jax.evaluation.record import Named
from cnn_jax.io.files import read_text
from cnn_jax.report import record
from cnn_jax.report.record import METRICS, RESULT, Form, Number, Record
from cnn_jax.training.run import logs

SPLITS = ("validation", "test", "train")
"""The ones that are asked for first; others come after them."""
LABEL = "name"
"""The field of the configuration that says nothing but what the run is called."""


@dataclass(frozen=True)
class Compared:
    """A run among others."""

    number: int
    """By which it is named, counted from 1."""
    directory: Path
    config: Config
    row: Row
    """See `cnn_jax.runs`."""
    record: Record
    """The numbers of its files; without an evaluation, those of training alone."""
    predictions: Named | None
    """What it said of each image of the split."""
    epochs: tuple[dict[str, Any], ...]
    """The lines of metrics.jsonl."""
    notes: tuple[str, ...]
    """What is missing, and which command makes it."""

    @property
    def measured(self) -> bool:
        """Whether it was evaluated on the split."""
        return bool(self.record.get(self.record.evaluation))

    def evaluated(self, *keys: str) -> Any:
        """A value of its evaluation; None without."""
        return self.record.get(self.record.evaluation, *keys)

    def reached(self, form: Form, key: str) -> Number:
        """Its accuracy or loss; where it was not evaluated on its validation images, that of the best epoch there."""
        if self.measured or self.record.evaluation != "evaluation-validation.json":
            return self.record.measured(form, key)
        return self.record.result(form, "best", key)


@dataclass(frozen=True)
class Comparison:
    """What was found."""

    split: str
    runs: tuple[Compared, ...]
    left_out: tuple[str, ...]
    """What was named and is not compared, each with its reason."""


def gather(names: Sequence[Path], split: str | None = None) -> Comparison:
    """The runs that directories and patterns stand for, each once.

    Args:
        split: None is the one that most of them were evaluated on, of several validation first.

    Raises:
        RunError: a name that stands for nothing, or fewer than two runs.
    """
    meant = {name: table.directories(name) for name in names}
    rows, left_out = [], [f"{name}: there is no such directory" for name, found in meant.items() if not found]
    for directory in dict.fromkeys(path for found in meant.values() for path in found):
        row = table.row(directory)
        if row is None or row["status"].startswith(table.UNREADABLE):
            left_out.append(f"{directory}: {'it is no run' if row is None else row['status']}")
        else:
            rows.append((directory, row))
    if len(rows) < 2:
        why = "".join(f"\n  left out: {line}" for line in left_out)
        raise RunError(f"nothing to compare: give two or more runs, such as 'runs/*'{why}")
    chosen = split or _most_measured([row for _, row in rows])
    runs = (_read(number, directory, row, chosen) for number, (directory, row) in enumerate(rows, start=1))
    return Comparison(chosen, tuple(runs), tuple(left_out))


def _most_measured(rows: Iterable[Row]) -> str:
    counts = Counter(key.removesuffix(".low") for row in rows for key in row if key.endswith(".low"))
    order = [*SPLITS, *sorted(set(counts) - set(SPLITS))]
    return max(order, key=lambda split: (counts[split], -order.index(split)))


def _read(number: int, directory: Path, row: Row, split: str) -> Compared:
    name, notes, evaluation, predictions = f"evaluation-{split}.json", [], None, None
    again = f"python -m cnn_jax.evaluate --checkpoint={directory} --split={split}"
    if f"{split}.low" not in row:
        notes.append(f"it was not evaluated on its {split} images: {again}")
    else:
        evaluation = evaluations.read(directory / name)
        try:
            predictions = evaluations.read_predictions(directory / f"predictions-{split}.npz")
            if not _belong_together(evaluation, predictions):
                raise ValueError(f"it is not of {name}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            predictions = None
            notes.append(f"predictions-{split}.npz cannot be used, so nothing is tested: {error}; {again}")
    config = from_json(read_text(directory / "config.json"), str(directory / "config.json"))
    found = record.read(directory, config, name, evaluation)
    missing = {METRICS, RESULT} - ({RESULT} if row["status"] == "open" else set())
    notes += [f"{file} cannot be read: {why}" for file, why in found.missing.items() if file in missing]
    epochs = () if METRICS in found.missing else tuple(logs.read(directory))
    notes += _other_checkpoint(found, epochs, again)
    return Compared(number, directory, config, row, found, predictions, epochs, tuple(notes))


def _belong_together(evaluation: dict[str, Any], named: Named) -> bool:
    """Whether the predictions are those of the evaluation."""
    accuracy = float(named.predictions.right.mean())
    same = len(named.ids) == evaluation["n"] and list(named.classes) == list(evaluation["classes"])
    return same and abs(accuracy - evaluation["accuracy"]) < 1e-9


def _other_checkpoint(found: Record, epochs: Sequence[dict[str, Any]], again: str) -> list[str]:
    """A note where the best checkpoint is not the one that was measured."""
    measured, best = found.get(found.evaluation, "checkpoint_step"), found.get(RESULT, "best", "epoch")
    steps = {line["epoch"]: line["step"] for line in epochs}
    if measured is None or steps.get(best) in (None, measured):
        return []
    return [f"step {measured} was measured, and its best epoch ended with step {steps[best]}: {again}"]


def differences(runs: Sequence[Compared]) -> dict[str, list[Any]]:
    """The settings that are not alike, each with its value in every run."""
    names = [name for name in flags(Config()) if name != LABEL]
    values = {name: [run.row[name] for run in runs] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def missing(runs: Sequence[Compared]) -> list[str]:
    """What is missing, with the numbers of the runs; the same of several is said once, with RUN for the directory."""
    said: dict[str, list[tuple[Compared, str]]] = {}
    for run in runs:
        for note in run.notes:
            said.setdefault(note.replace(str(run.directory), "RUN"), []).append((run, note))
    return [
        f"{', '.join(str(run.number) for run, _ in noted)}: {noted[0][1] if len(noted) == 1 else text}"
        for text, noted in said.items()
    ]
