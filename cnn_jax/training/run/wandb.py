"""A run in Weights & Biases: on its server, or with WANDB_MODE=offline in the run directory, for `wandb sync`."""

import os
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cnn_jax.io.files import cache_folder
from cnn_jax.io.writing import is_remote
from cnn_jax.training.run.tracker import PROJECT, Beginning

PATIENCE = {"init_timeout": 30.0, "finish_timeout": 60.0, "finish_timeout_raises": True}
"""Settings of the library: seconds that it waits for a server that does not answer, at the start and at the end. Left
alone, it waits for 90 at the start, and at the end for as long as it takes."""


class WandB:
    """See `cnn_jax.training.run.tracker.Tracker`."""

    def start(self, run: Beginning) -> str:
        import wandb

        folder = cache_folder() if is_remote(run.workdir) else run.workdir
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=run.known or uuid.uuid4().hex[:16],
            resume="allow",
            dir=str(folder),
            config=run.settings,
            settings=wandb.Settings(silent=True, console="off", **_patience(wandb.Settings.model_fields)),
        )
        return str(self._run.id)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def images(self, step: int, name: str, images: UInt8[np.ndarray, "n h w 3"]) -> None:
        import wandb

        self._run.log({name: [wandb.Image(image) for image in images]}, step=step)

    def artifact(self, path: Path) -> None:
        copy = Path(self._run.dir) / path.name  # where what W&B keeps lies: it makes a link, and warns, of other files
        copy.write_bytes(path.read_bytes())
        self._run.save(str(copy), base_path=str(self._run.dir), policy="now")

    def end(self, status: str) -> None:
        self._run.finish(exit_code=int(status == "failed"))


def _patience(known: Collection[str]) -> dict[str, Any]:
    """Those of `PATIENCE` that the library knows and no variable, such as WANDB_INIT_TIMEOUT, says otherwise."""
    said = {name for name in PATIENCE if f"WANDB_{name.upper()}" in os.environ}
    return {name: value for name, value in PATIENCE.items() if name in known and name not in said}
