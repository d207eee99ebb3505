"""The protocol that every tracker of runs follows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

PROJECT = "cnn_jax"
"""What the runs are gathered under, unless the variables of the library say otherwise."""


@dataclass(frozen=True)
class Beginning:
    """What a tracker is told at a start of a run."""

    workdir: Path
    name: str
    settings: dict[str, Any]
    """Every field of the configuration under its flag's name."""
    known: str = ""
    """What the tracker called the run at an earlier start; empty at the first."""


class Tracker(Protocol):
    """Shows a run."""

    def start(self, run: Beginning) -> str:
        """Begin, or go on; what the tracker calls the run."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Numbers by the names of their curves."""

    def images(self, step: int, name: str, images: UInt8[np.ndarray, "n h w 3"]) -> None:
        """Pictures side by side."""

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file of the run directory, which may have been kept before."""

    def end(self, status: str) -> None:
        """The start is over: completed, interrupted or failed."""
