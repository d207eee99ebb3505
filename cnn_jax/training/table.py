"""Runs side by side: what each was told and what it reached, as rows of one table."""

from pathlib import Path
from typing import Any

from cnn_jax.config import flags
from cnn_jax.errors import ConfigError
from cnn_jax.experiment import from_json
from cnn_jax.files import parse_json, read_text

RESULT = ("status", "epochs", "steps", "wall_seconds", "images_per_second", "frozen_unchanged")
EVALUATION = "evaluation-"

Row = dict[str, Any]


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
            found |= _measured(path.stem.removeprefix(EVALUATION), parse_json(read_text(path)))
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        return {**found, "status": f"cannot be read: {error}"}
    return found | flags(config)


def _reached(result: dict[str, Any]) -> Row:
    best, parameters = result["best"] or {}, result["parameters"]
    return {
        **{name: result.get(name) for name in RESULT},
        **{name: best.get(name) for name in ("accuracy", "loss", "epoch")},
        **{f"{name}_parameters": number for name, number in parameters.items()},
    }


def _measured(split: str, record: dict[str, Any]) -> Row:
    low, high = record["accuracy_ci95"]
    return {f"{split}.accuracy": record["accuracy"], f"{split}.low": low, f"{split}.high": high}
