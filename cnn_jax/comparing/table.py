"""Runs side by side: what each was told and what it reached, as rows of one table."""

import glob
import os
from pathlib import Path
from typing import Any

from cnn_jax.config import flags
from cnn_jax.config.serialization import from_json
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.evaluation import record as evaluations
from cnn_jax.io.files import as_path, parse_json, read_text
from cnn_jax.io.writing import REMOTE, is_remote

RESULT = ("status", "epochs", "steps", "wall_seconds", "images_per_second", "frozen_unchanged")
EVALUATION = "evaluation-"
UNREADABLE = "cannot be read"
"""How the status of a run begins that is damaged."""

Row = dict[str, Any]


def directories(name: str | os.PathLike[str]) -> list[Path]:
    """The directories that a path, or a pattern of this machine or of `gs://`, stands for, by name.

    Raises:
        RunError: it is no pattern, and there is no such directory.
    """
    text = os.path.expanduser(name)
    path = as_path(text)
    if path.is_dir():
        return [path]
    if not glob.has_magic(text):
        raise RunError(f"{text}: there is no such directory")
    if not is_remote(text):
        return [Path(path) for path in sorted(glob.glob(text)) if os.path.isdir(path)]
    bucket, *rest = path.parts[2:]
    found = as_path(f"{REMOTE}{bucket}").glob("/".join(rest))
    return sorted((as_path(str(path)) for path in found if path.is_dir()), key=str)


def row(directory: Path) -> Row | None:
    """What a run directory says; None for what is none.

    `run`, its path; `status`: completed, interrupted, open (no result yet), or why it cannot be read; `accuracy`,
    `loss` and `epoch` of the best epoch on the validation images; numbers of parameters; then for each evaluation
    `SPLIT.accuracy` with `SPLIT.low` and `SPLIT.high`, and every field of the configuration under its flag's name.
    """
    if not (directory / "config.json").exists():
        return None
    found: Row = {"run": str(directory), "status": "open"}
    try:
        config = from_json(read_text(directory / "config.json"), str(directory / "config.json"))
        if (directory / "result.json").exists():
            found |= _reached(parse_json(read_text(directory / "result.json")))
        for path in sorted(directory.glob(f"{EVALUATION}*.json")):
            found |= _measured(path.stem.removeprefix(EVALUATION), evaluations.read(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        return {**found, "status": f"{UNREADABLE}: {error}"}
    return found | flags(config)


def _reached(result: dict[str, Any]) -> Row:
    best, parameters = result["best"] or {}, result["parameters"]
    found = {
        **{name: result.get(name) for name in RESULT},
        **{name: best.get(name) for name in ("accuracy", "loss", "epoch")},
        **{f"{name}_parameters": number for name, number in parameters.items()},
    }
    numbers = {**found, "status": None}
    if not isinstance(found["status"], str) or not all(isinstance(v, int | float | None) for v in numbers.values()):
        raise ValueError("result.json: what should be a number is none")
    return found


def _measured(split: str, record: dict[str, Any]) -> Row:
    low, high = record["accuracy_ci95"]
    return {f"{split}.accuracy": record["accuracy"], f"{split}.low": low, f"{split}.high": high}
