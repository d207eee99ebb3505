"""What a run directory says of its run: every number is read from it by name, and carries that name into the page."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cnn_jax.config import Config
from cnn_jax.exporting import record as exports
from cnn_jax.io.files import parse_json

CONFIG, METRICS, RESULT, SPLIT = "config.json", "metrics.jsonl", "result.json", "split.json"
NOTHING = "–"
"""Stands for a number that does not exist, such as the ROC-AUC of a class without images."""

Form = Callable[[Any], str]
"""How a number is written."""


def percent(value: float) -> str:
    """A share, with one decimal."""
    return f"{100 * value:.1f} %"


def decimals(value: float) -> str:
    """Four decimals, as the console prints metrics."""
    return f"{value:.4f}"


def count(value: int) -> str:
    """A whole number, in groups of three digits."""
    return f"{value:,}"


def scientific(value: float) -> str:
    """Three digits and a power of ten, for learning rates."""
    return f"{value:.2e}"


def seconds(value: float) -> str:
    """A duration, to a tenth of a second."""
    return f"{value:,.1f} s"


def per_second(value: float) -> str:
    """Images a second."""
    return f"{value:,.0f} images/s"


@dataclass(frozen=True)
class Number:
    """A number of the page."""

    value: Any
    """As in the file; None where there is no such number."""
    text: str
    source: str | None
    """FILE#POINTER, with the JSON pointer (RFC 6901) of the number in the file; a line of .jsonl is an element.
    None: no file holds it."""


def computed(form: Form, value: float) -> Number:
    """A number that no file holds, such as the probability of one of many right predictions."""
    return Number(value, form(value), None)


@dataclass(frozen=True)
class Record:
    """The contents of a run directory's files, by their names."""

    evaluation: str
    """The name of the evaluation's file."""
    contents: dict[str, Any]
    missing: dict[str, str] = field(default_factory=dict)
    """Files that could not be read, and why."""

    def get(self, file: str, *keys: str | int) -> Any:
        """The value at these keys, one inside the other; None where any of them is absent."""
        value = self.contents.get(file)
        for key in keys:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                return None
        return value

    def number(self, form: Form, file: str, *keys: str | int) -> Number:
        """The number at these keys, written in this form."""
        value = self.get(file, *keys)
        pointer = "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)
        return Number(value, NOTHING if value is None else form(value), f"{file}#{pointer}")

    def measured(self, form: Form, *keys: str | int) -> Number:
        """A number of the evaluation."""
        return self.number(form, self.evaluation, *keys)

    def result(self, form: Form, *keys: str | int) -> Number:
        """A number of result.json."""
        return self.number(form, RESULT, *keys)


def read(directory: Path | None, config: Config, name: str = "", evaluation: dict[str, Any] | None = None) -> Record:
    """The record of a run; files that are missing or damaged are left out and named.

    Args:
        directory: None for the network of a file, which has no run directory.
        config: of the checkpoint, which is also in config.json.
        name: the file of `evaluation`, if there is one.
    """
    contents, missing = json.loads(json.dumps({name: evaluation or {}, CONFIG: asdict(config)})), {}
    if directory is None:
        return Record(name, contents)
    for file in (METRICS, RESULT, SPLIT, exports.FILE):
        try:
            contents[file] = _parse(directory / file)
        except OSError as error:
            if file == exports.FILE and isinstance(error, FileNotFoundError):
                continue  # the run was not exported
            missing[file] = str(error.strerror)
        except ValueError as error:
            missing[file] = str(error)
    return Record(name, contents, missing)


def _parse(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    return [parse_json(line) for line in text.splitlines()] if path.suffix == ".jsonl" else parse_json(text)
