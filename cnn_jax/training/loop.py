"""Train or fine-tune: the whole of a run, from the configuration to result.json."""

import contextlib
import json
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax

from cnn_jax.config import Config
from cnn_jax.data import splits
from cnn_jax.data.stream import Batch, TrainStream, evaluation_batches, in_memory
from cnn_jax.evaluation.evaluator import predict_all
from cnn_jax.evaluation.metrics import accuracy_and_loss
from cnn_jax.training import runs
from cnn_jax.training.checkpoints import Checkpoints
from cnn_jax.training.interrupts import Interrupts
from cnn_jax.training.logs import MetricsLog, Reporter, write_atomically
from cnn_jax.training.setup import Job, set_up, without_unreadable
from cnn_jax.training.state import Totals, TrainState
from cnn_jax.training.step import make_predict, make_train_step


@dataclass(frozen=True)
class Progress:
    """How far a run is, beside its state; kept in each checkpoint."""

    frozen_digest: str
    """Hash of the frozen parameters and statistics before the first step."""
    seconds: float = 0.0
    """Wall time of all starts up to here."""
    training_seconds: float = 0.0
    """The part of it spent in training steps."""
    best: dict[str, float] | None = None
    """Of the epoch with the best validation accuracy: epoch, accuracy, loss."""
    last: dict[str, float] | None = None
    """Of the newest epoch: accuracy, loss."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: what result.json holds, and the signal that stopped it, if one did."""

    result: dict[str, Any]
    stopped_by: int | None


def fit(config: Config, workdir: Path, reporter: Reporter) -> Outcome:
    """Train as `config` says in `workdir`, going on where an earlier start of the same run stopped.

    Raises:
        UserError: something that the person who started it can mend; nothing that exists is overwritten then.
    """
    started = time.perf_counter()
    goes_on = runs.check(workdir, config)
    job = set_up(config, workdir / "split.json" if goes_on else None)
    runs.create(workdir, config)
    if not goes_on:
        job = replace(job, dataset=without_unreadable(job.dataset, config, workdir, reporter))
        splits.write(job.dataset, workdir / "split.json")
    write_atomically(workdir / "classes.json", json.dumps(job.dataset.classes))

    state = job.initial_state()
    progress = Progress(job.freezing.digest(state.params, state.batch_stats))
    with Checkpoints(workdir / "checkpoints") as checkpoints, Interrupts() as interrupts:
        newest = checkpoints.latest()
        if newest is not None:
            state, progress = checkpoints.restore(newest, state), Progress(**checkpoints.meta(newest)["progress"])
        _describe(job, workdir, newest, reporter)
        seconds_before = progress.seconds
        with (
            MetricsLog(workdir, newest or 0, config.train.tensorboard) as log,
            contextlib.closing(Epochs(job, log, reporter, interrupts)) as epochs,
        ):
            for epoch in range((newest or 0) // job.steps_per_epoch + 1, config.train.epochs + 1):
                state, progress = epochs.train(epoch, state, progress)
                ended = int(state.step) == epoch * job.steps_per_epoch
                if ended:
                    state, progress = epochs.validate(epoch, state, progress)
                progress = replace(progress, seconds=seconds_before + time.perf_counter() - started)
                meta = {**runs.description(job), "progress": asdict(progress)}
                checkpoints.save(state, meta, progress.last if ended else None)
                if interrupts.received is not None:
                    break

    completed = int(state.step) == config.train.epochs * job.steps_per_epoch
    result = {
        "status": "completed" if completed else "interrupted",
        "epochs": int(state.step) // job.steps_per_epoch,
        "steps": int(state.step),
        "best": progress.best,
        "last": progress.last,
        "wall_seconds": round(progress.seconds, 2),
        "images_per_second": round(int(state.step) * config.data.batch_size / max(progress.training_seconds, 1e-9), 1),
        "parameters": job.parameters,
        "frozen_unchanged": job.freezing.digest(state.params, state.batch_stats) == progress.frozen_digest,
    }
    write_atomically(workdir / "result.json", json.dumps(result, indent=2))
    return Outcome(result, None if completed else interrupts.received)


class Epochs:
    """The parts of an epoch: training steps, then validation."""

    def __init__(self, job: Job, log: MetricsLog, reporter: Reporter, interrupts: Interrupts) -> None:
        self._job, self._log, self._reporter, self._interrupts = job, log, reporter, interrupts
        self._step = make_train_step(job.model, job.optimizer, job.freezing, job.config.seed, job.mesh)
        self._predict = make_predict(job.model, job.mesh)
        self._batches: Generator[Batch, None, None] | None = None
        budget = job.config.data.memory_megabytes * 2**20
        self._training, self._validation = (
            in_memory(job.dataset.splits[name], job.model.image_size, budget) for name in ("train", "validation")
        )

    def close(self) -> None:
        """Stop the threads that prepare batches."""
        if self._batches is not None:
            self._batches.close()

    def train(self, epoch: int, state: TrainState, progress: Progress) -> tuple[TrainState, Progress]:
        """Train to the end of the epoch, or to an interrupt."""
        job, data = self._job, self._job.config.data
        first, end = int(state.step), epoch * job.steps_per_epoch
        if self._batches is None:
            stream = TrainStream(self._training, job.model.image_size, data.batch_size, job.config.seed, data.augment)
            self._batches = stream.batches(first)
        begun, previous = time.perf_counter(), None
        with self._reporter.bar(f"epoch {epoch}/{job.config.train.epochs}", end - first, "images") as bar:
            for _ in range(first, end):
                if self._interrupts.received is not None:
                    break
                batch = next(self._batches)
                state, loss = self._step(state, job.mesh.put_batch(batch["image"]), job.mesh.put_batch(batch["label"]))
                if previous is not None:  # one step runs while the next is prepared, and no more than that
                    bar.advance(data.batch_size, f"loss {float(previous):.4f}")
                previous = loss
            jax.block_until_ready(state)
        seconds = time.perf_counter() - begun
        return state, replace(progress, training_seconds=progress.training_seconds + seconds)

    def validate(self, epoch: int, state: TrainState, progress: Progress) -> tuple[TrainState, Progress]:
        """Evaluate after the last step of an epoch, write both splits' metrics, and begin new totals."""
        job, data, step = self._job, self._job.config.data, int(state.step)
        split = self._validation
        begun = time.perf_counter()
        with self._reporter.bar("validation", len(split), "images") as bar:
            predictions = predict_all(
                lambda images: self._predict(state.variables, job.mesh.put_batch(images)),
                evaluation_batches(split, job.model.image_size, data.eval_batch_size),
                lambda images: bar.advance(images, items=images),
            )
        validation = accuracy_and_loss(predictions)
        training = state.totals.means()
        images_per_second = step * data.batch_size / max(progress.training_seconds, 1e-9)
        self._log.write(
            step=step,
            epoch=epoch,
            split="train",
            **training,
            learning_rate=job.config.optimizer.learning_rate,
            images_per_second=round(images_per_second, 1),
        )
        speed = len(split) / max(time.perf_counter() - begun, 1e-9)
        self._log.write(step=step, epoch=epoch, split="validation", **validation, images_per_second=round(speed, 1))
        best = progress.best
        if best is None or (validation["accuracy"], -validation["loss"]) >= (best["accuracy"], -best["loss"]):
            best = {"epoch": epoch, **validation}
        self._reporter.line(
            f"epoch {epoch}/{job.config.train.epochs}   "
            f"train loss {training['loss']:.4f} accuracy {training['accuracy']:.4f}   "
            f"validation loss {validation['loss']:.4f} accuracy {validation['accuracy']:.4f}   "
            f"{images_per_second:.0f} images/s{'   best' if best['epoch'] == epoch else ''}"
        )
        return replace(state, totals=Totals.zero()), replace(progress, best=best, last=validation)


def _describe(job: Job, workdir: Path, newest: int | None, reporter: Reporter) -> None:
    """What is about to run, in a few lines."""
    config, parameters = job.config, job.parameters
    sizes = ", ".join(f"{len(split)} {name}" for name, split in job.dataset.splits.items())
    names = ", ".join(job.dataset.classes[:10]) + (", …" if len(job.dataset.classes) > 10 else "")
    reporter.line(f"run        {workdir}")
    reporter.line(f"data       {config.data.dataset}: {sizes}; {len(job.dataset.classes)} classes: {names}")
    reporter.line(f"model      {config.model.name}, {config.model.image_size} pixels; {'; '.join(job.weights)}")
    reporter.line(
        f"train      {parameters['trainable']:,} of {parameters['total']:,} parameters "
        f"(freeze_until={config.train.freeze_until}), {config.train.epochs} epochs of {job.steps_per_epoch} steps "
        f"on {job.mesh.devices} {jax.default_backend()} device{'s' * (job.mesh.devices > 1)}"
    )
    if newest is not None:
        reporter.line(f"resume     at step {newest} of {config.train.epochs * job.steps_per_epoch}")
