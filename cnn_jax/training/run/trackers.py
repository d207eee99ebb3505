"""Where a run is shown beside metrics.jsonl, which stays the truth: TensorBoard, MLflow, Weights & Biases.

All follow one small protocol. One that fails while the run trains is left, with a warning, and the run goes on.
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from cnn_jax.config import Config, flags
from cnn_jax.errors import ConfigError
from cnn_jax.io.files import parse_json, read_text
from cnn_jax.io.writing import write_atomically
from cnn_jax.training.run.tracker import Beginning, Tracker

RECORD = "trackers.json"
"""Of the run directory: tracker to what it calls the run, by which a run that goes on is found there again."""
LIBRARIES = {"mlflow": "MLflow", "wandb": "Weights & Biases"}

Say = Callable[[str], None]
Result = TypeVar("Result")


class Guarded:
    """A tracker whose failures do not reach the run: after the first one it is not asked any more."""

    def __init__(self, tracker: Tracker, name: str, say: Say) -> None:
        self._tracker, self._name, self._say, self._alive = tracker, name, say, True

    def start(self, run: Beginning) -> str:
        return self._try(lambda: self._tracker.start(run), run.known)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._try(lambda: self._tracker.scalars(step, values), None)

    def images(self, step: int, name: str, images: UInt8[np.ndarray, "n h w 3"]) -> None:
        self._try(lambda: self._tracker.images(step, name, images), None)

    def artifact(self, path: Path) -> None:
        self._try(lambda: self._tracker.artifact(path), None)

    def end(self, status: str) -> None:
        self._try(lambda: self._tracker.end(status), None)

    def _try(self, call: Callable[[], Result], otherwise: Result) -> Result:
        if not self._alive:
            return otherwise
        try:
            return call()
        except Exception as error:  # of a library that may raise anything
            self._alive = False
            reason = (str(error).splitlines() or [""])[0]
            self._say(f"warning    {self._name} is not told any more: {type(error).__name__}: {reason}")
            return otherwise


def require(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker whose library is not installed."""
    for name in names:
        if not installed(name):
            raise ConfigError(
                f"train.trackers={name} needs {LIBRARIES[name]}: pip install 'cnn_jax[{name}]', or leave it out"
            )


def installed(library: str) -> bool:
    """Whether it can be imported."""
    return importlib.util.find_spec(library) is not None


def start(config: Config, workdir: Path, say: Say) -> list[Tracker]:
    """The trackers that the configuration asks for, begun; a run that went to one before goes on there."""
    found: dict[str, Tracker] = {}
    if config.train.tensorboard:
        from cnn_jax.training.run.tensorboard import EventsFile  # which those who only read a run do without

        found["tensorboard"] = EventsFile()
    for name in config.train.trackers:
        found[name] = Guarded(_tracker(name), LIBRARIES[name], say)
    known = _known(workdir)
    told = {
        name: tracker.start(Beginning(workdir, workdir.name, flags(config), known.get(name, "")))
        for name, tracker in found.items()
    }
    called = known | {name: run for name, run in told.items() if run}
    if called != known:
        write_atomically(workdir / RECORD, json.dumps(called, indent=1))
    return list(found.values())


def _tracker(name: str) -> Tracker:
    if name == "mlflow":
        from cnn_jax.training.run.mlflow import MLflow

        return MLflow()
    from cnn_jax.training.run.wandb import WandB

    return WandB()


def _known(workdir: Path) -> dict[str, str]:
    """What the trackers call the run; a record that is damaged was moved at the start."""
    try:
        return dict(parse_json(read_text(workdir / RECORD)))
    except (OSError, ValueError, TypeError):
        return {}
