"""What is told in tables: the classes, the configuration, the versions and the time."""

from dataclasses import dataclass
from typing import Any

from cnn_jax.config import Config, flags
from cnn_jax.config.image_size import as_flag
from cnn_jax.evaluation.metrics import lowest_f1_first
from cnn_jax.report.record import METRICS, RESULT, Number, Record, count, decimals, per_second, percent, seconds
from cnn_jax.runtime.clock import OTHER, REPORT
from cnn_jax.training.trained_run import TrainedRun

MOST_CLASSES = 1000
"""Rows of the table of classes; of more, those with the lowest F1."""
TOP = 5
"""Top-5 accuracy says something where there are more classes."""
SCORES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Headline:
    """What is said first."""

    accuracy: Number
    low: Number
    high: Number
    n: Number
    others: tuple[tuple[str, Number], ...]
    """Name and value of further scores."""


def headline(record: Record) -> Headline:
    """Accuracy with its 95 % interval, and the scores that sum up the rest."""
    scores = [("loss", record.measured(decimals, "loss")), ("macro F1", record.measured(decimals, "macro", "f1"))]
    if len(record.get(record.evaluation, "classes")) > TOP:
        scores.append((f"top-{TOP} accuracy", record.measured(percent, "top5_accuracy")))
    scores += [
        ("ROC-AUC", record.measured(decimals, "roc_auc")),
        ("calibration error", record.measured(decimals, "calibration", "ece")),
    ]
    low, high = (record.measured(percent, "accuracy_ci95", i) for i in (0, 1))
    return Headline(record.measured(percent, "accuracy"), low, high, record.measured(count, "n"), tuple(scores))


@dataclass(frozen=True)
class ClassRow:
    """A class, or an average of them."""

    name: str
    scores: tuple[Number, ...]
    """Precision, recall, F1, ROC-AUC."""
    support: Number | None


@dataclass(frozen=True)
class Classes:
    """The section."""

    rows: tuple[ClassRow, ...]
    averages: tuple[ClassRow, ...]
    all: int
    """How many classes there are."""


def classes(record: Record) -> Classes:
    """Scores of each class and their averages."""
    table = record.get(record.evaluation, "per_class")
    names = lowest_f1_first(table)[:MOST_CLASSES] if len(table) > MOST_CLASSES else table
    rows = (
        ClassRow(
            name,
            tuple(record.measured(decimals, "per_class", name, key) for key in (*SCORES, "roc_auc")),
            record.measured(count, "per_class", name, "support"),
        )
        for name in names
    )
    averages = (
        ClassRow(name, tuple(record.measured(decimals, name, key) for key in SCORES), None)
        for name in ("macro", "weighted")
    )
    return Classes(tuple(rows), tuple(averages), len(table))


@dataclass(frozen=True)
class Setting:
    """A field of the configuration."""

    name: str
    value: str
    is_default: bool


def configuration(config: Config) -> tuple[Setting, ...]:
    """Every field with its flag's name."""
    defaults = flags(Config())
    return tuple(Setting(name, shown(name, value), value == defaults[name]) for name, value in flags(config).items())


def shown(name: str, value: Any) -> str:
    """A setting, as its flag takes it."""
    if name == "model.image_size":
        return as_flag(value)
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def versions(run: TrainedRun) -> tuple[tuple[str, str], ...]:
    """Package and version, as the checkpoint recorded them, and the commit of the code."""
    commit = run.meta.get("git_commit")
    return (*run.meta.get("versions", {}).items(), *([("commit", commit)] if commit else []))


@dataclass(frozen=True)
class Part:
    """What one part of the start took."""

    name: str
    seconds: Number
    share: float
    """Of the longest part."""


@dataclass(frozen=True)
class Timing:
    """The section."""

    wall: Number
    training_speed: Number
    validation_speed: Number
    parts: tuple[Part, ...]


def timing(record: Record) -> Timing | None:
    """What the time went to; None without result.json."""
    found: dict[str, float] | None = record.get(RESULT, "seconds")
    if found is None:
        return None
    parts = {name: value for name, value in found.items() if name not in (REPORT, OTHER)}  # which are not over yet
    longest = max(parts.values(), default=0.0) or 1.0
    lines = record.get(METRICS) or []
    newest = max((i for i, line in enumerate(lines) if line["split"] == "validation"), default=len(lines))  # or none
    return Timing(
        record.result(seconds, "wall_seconds"),
        record.result(per_second, "images_per_second"),
        record.number(per_second, METRICS, newest, "images_per_second"),
        tuple(Part(name, record.result(seconds, "seconds", name), value / longest) for name, value in parts.items()),
    )
