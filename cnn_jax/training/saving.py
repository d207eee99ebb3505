"""When a run is saved, and with what beside its state."""

import time
from dataclasses import asdict, replace
from typing import Any

from cnn_jax.training.freezing import Freezing
from cnn_jax.training.run import run_directory
from cnn_jax.training.run.checkpoints import Checkpoints
from cnn_jax.training.run.processes import Vote
from cnn_jax.training.run.progress import Metrics, Progress
from cnn_jax.training.setup import Job
from cnn_jax.training.state import TrainState


class Saver:
    """Saves a run when its configuration says so."""

    def __init__(self, job: Job, checkpoints: Checkpoints, progress: Progress) -> None:
        """`progress` is what this start goes on from."""
        self._settings, self._description = job.config.checkpoint, _description(job)
        self._checkpoints, self._clock, self._seconds_before = checkpoints, job.clock, progress.seconds
        self._saved_at, self._vote = time.perf_counter(), Vote(job.mesh)
        self.newest = checkpoints.latest()
        """The step of the newest checkpoint."""

    def due(self, step: int) -> bool:
        """Whether to save after this step, in the middle of an epoch."""
        steps, minutes = self._settings.every_steps, self._settings.every_minutes
        if steps is not None and step % steps == 0:
            return True
        waited = time.perf_counter() - self._saved_at
        return minutes is not None and bool(self._vote(waited >= 60 * minutes))  # the processes' clocks differ

    def next_due(self, step: int, end: int) -> int:
        """The next step after this one at which saving is due by the number of steps; `end` where that is earlier."""
        steps = self._settings.every_steps
        return end if steps is None else min(end, step - step % steps + steps)

    def due_after(self, epoch: int) -> bool:
        """Whether to save after this epoch, even if it is not the best."""
        return epoch % self._settings.every_epochs == 0

    def save(
        self, state: TrainState, freezing: Freezing, progress: Progress, validation: Metrics | None = None
    ) -> None:
        """Write a checkpoint in the background.

        Args:
            validation: accuracy and loss where an epoch has just ended.

        Raises:
            RunFailed: see `Checkpoints.save`.
        """
        step = int(state.step)
        meta = {**self._description, "progress": asdict(self.timed(progress))}
        with self._clock.part("checkpoints"):
            self._checkpoints.save(step, state.checkpoint(freezing), meta, validation)
        self.newest, self._saved_at = step, time.perf_counter()

    def timed(self, progress: Progress) -> Progress:
        """The progress with the wall time up to now."""
        return replace(progress, seconds=self._seconds_before + self._clock.wall())


def _description(job: Job) -> dict[str, Any]:
    """What every checkpoint says of its run, so that it can be read with nothing beside it."""
    return {
        "config": asdict(job.config),
        "classes": list(job.dataset.classes),
        "normalisation": job.model.normalisation,
        "resize": asdict(job.resize),
        "versions": run_directory.versions(),
        "git_commit": run_directory.git_commit(),
        **({"keras_layers": job.keras_layers} if job.keras_layers else {}),
    }
