"""Train or fine-tune: the whole of a run, from the configuration to result.json."""

import contextlib
import json
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax

from cnn_jax.config import Config, TrainConfig
from cnn_jax.data.sources import Split
from cnn_jax.errors import RunFailed
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.io.writing import write_atomically
from cnn_jax.runtime import memory
from cnn_jax.runtime.clock import OTHER, Clock
from cnn_jax.runtime.compiling import beside
from cnn_jax.training import console, flops, pictures, plateau, resume
from cnn_jax.training.epochs import Epochs
from cnn_jax.training.loaders import make_loader
from cnn_jax.training.phases import Phase
from cnn_jax.training.run import run_directory, trackers
from cnn_jax.training.run.checkpoints import Checkpoints
from cnn_jax.training.run.interrupts import Interrupts
from cnn_jax.training.run.lock import Lock
from cnn_jax.training.run.logs import MetricsLog, Reporter
from cnn_jax.training.run.processes import Vote, fail_together, is_main
from cnn_jax.training.run.progress import Progress
from cnn_jax.training.saving import Saver
from cnn_jax.training.setup import Job
from cnn_jax.training.shared import Shared
from cnn_jax.training.state import TrainState

TRACKED = ("config.json", "result.json", "metrics.jsonl")
"""Files that trackers get at the end."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    result: dict[str, Any]
    """What result.json holds."""
    stopped_by: int | None
    """The signal that stopped it, if one did."""
    splits: dict[str, Split]
    """The images by split, as they are found."""
    validation: Split | None
    """What it was validated on, decoded where the images were kept in memory; None without such images."""
    classes: tuple[str, ...]
    best: tuple[int, Predictions] | None
    """The step of the best epoch and what it said of `validation`; None where that was in an earlier start."""


def fit(
    config: Config,
    workdir: Path,
    reporter: Reporter,
    clock: Clock | None = None,
    shared: Shared | None = None,
) -> Outcome:
    """Train as `config` says in `workdir`, going on where an earlier start of the same run stopped.

    Args:
        clock: of this start, where it began before; what went to nothing else until now were imports.
        shared: what other runs of this process have made already, which is then not made again.

    Raises:
        UserError: something that the person who started it can mend; nothing that exists is overwritten then.
        RunFailed: the training diverged, or the disk is full; what was saved stays.
    """
    with _disk_errors(workdir), Lock(workdir) as lock:
        return _fit(config, workdir, reporter, lock, clock or Clock(), shared)


def _fit(config: Config, workdir: Path, reporter: Reporter, lock: Lock, clock: Clock, shared: Shared | None) -> Outcome:
    clock.so_far("imports")
    job, goes_on = resume.set_up_run(config, workdir, lock, reporter, shared, clock)
    with clock.part("run directory"), fail_together():
        if is_main():
            run_directory.create(workdir, config, goes_on, lock, reporter.line)
            resume.write_records(job, workdir, goes_on, reporter)
    with clock.part("run directory"), fail_together():
        run_directory.require_visible(workdir)
    with (
        clock.part("checkpoints"),
        Checkpoints(workdir / "checkpoints", config.checkpoint.keep) as checkpoints,
        Interrupts(Vote(job.mesh)) as interrupts,
    ):
        state, progress, newest = resume.newest_state(job, checkpoints, reporter)
        saver = Saver(job, checkpoints, progress)
        with clock.part("logs"):
            console.describe(job, workdir, newest, reporter)
            step, kept = newest or 0, workdir if is_main() else None
            shown = trackers.start(config, workdir, reporter.line) if is_main() else []
            log = MetricsLog(kept, step, step // job.steps_per_epoch, shown, reporter.line)
        with clock.part(OTHER), log:
            run = Run(job, saver, log, reporter, interrupts)
            state, progress = run.train(state, progress)
        checkpoints.wait()
        with clock.part("hashing"):
            result = _result(job, state, saver.timed(progress), run)
    write_result(workdir, result, clock)
    log.end(result["status"], [workdir / name for name in TRACKED] if is_main() else [])
    stopped_by = None if result["status"] == "completed" else interrupts.agreed
    return Outcome(result, stopped_by, job.dataset.splits, run.validation, job.dataset.classes, run.best)


def write_result(workdir: Path, result: dict[str, Any], clock: Clock) -> None:
    """Write result.json, with what this start took up to now."""
    result["seconds"] = clock.seconds()
    if is_main():
        write_atomically(workdir / "result.json", json.dumps(result, indent=2))


class Run:
    """The phases of a run, one after the other."""

    def __init__(self, job: Job, saver: Saver, log: MetricsLog, reporter: Reporter, interrupts: Interrupts) -> None:
        self._job, self._saver, self._log, self._reporter = job, saver, log, reporter
        self._interrupted = interrupts.stopped
        self.stopped_early = False
        self.validation = job.dataset.splits.get("validation")
        """As the newest phase used it."""
        self.best: tuple[int, Predictions] | None = None
        """The step of the best epoch of this start, and its predictions."""
        self._whole_work: Future[float | None] | None = None

    def train(self, state: TrainState, progress: Progress) -> tuple[TrainState, Progress]:
        """Go on from a state to the end of the run, or until an interrupt."""
        job = self._job
        while not self._interrupted():
            phase, done = job.phases[progress.phase], int(state.step) // job.steps_per_epoch
            self.stopped_early = is_enough(job.config.train, phase, progress, done)
            if done < phase.last_epoch and not self.stopped_early:
                state, progress = self._train_phase(phase, state, progress)
            elif progress.phase + 1 < len(job.phases) and not self.stopped_early:
                state, progress = enter(job, state, progress, progress.phase + 1)
            else:
                break
        return state, progress

    def _train_phase(self, phase: Phase, state: TrainState, progress: Progress) -> tuple[TrainState, Progress]:
        kind = "features" if phase.features else "decoding"
        with self._job.clock.part(kind), self._enough_memory("caching features", lambda: None):
            loader = make_loader(self._job, phase, state, progress.augments, self._reporter, self._interrupted)
        if loader is None:
            return state, progress
        self.validation = loader.examples
        self._count_work()
        pictures.prepare(self._log)
        if int(state.step) == 0:
            with self._job.clock.part("logs"):
                pictures.log_inputs(self._job, self._log)
        epochs = Epochs(self._job, phase, loader, self._saver, self._log, self._reporter)
        epoch, ends = int(state.step) // self._job.steps_per_epoch, False
        with contextlib.closing(epochs):
            while not ends:
                epoch += 1
                state, progress, ends = self._train_epoch(epoch, epochs, phase, state, progress)
        if epochs.predictions is not None:
            with self._job.clock.part("logs"):
                pictures.log_confusion(self._job, self._log, int(state.step), epochs.predictions)
        return state, progress

    def _count_work(self) -> None:
        """Begin to count what a step of the whole network would do, best while the step of the run is compiled."""
        everything_trains = self._job.phases[-1].features is None and not self._job.parameters["frozen"]
        if self._whole_work is None and not everything_trains:
            self._whole_work = beside(flops.full_step, self._job)

    def work(self, progress: Progress) -> dict[str, float | None]:
        """Floating-point operations of a step as it was, and of one that trains every layer."""
        self._count_work()
        whole = self._whole_work
        return {"step": progress.flops, "full_model": progress.flops if whole is None else whole.result()}

    def _train_epoch(
        self, epoch: int, epochs: Epochs, phase: Phase, state: TrainState, progress: Progress
    ) -> tuple[TrainState, Progress, bool]:
        """One epoch, or what an interrupt leaves of it, its checkpoint, and whether the phase ends with it."""
        with self._job.clock.part("training"), self._enough_memory("training", epochs.memory_of_a_step):
            state, progress, speed = epochs.train(epoch, state, progress, self._interrupted)
        if int(state.step) < epoch * self._job.steps_per_epoch:
            self._saver.save(state, phase.freezing, progress)
            return state, progress, True
        part = OTHER if self.validation is None else "validation"
        with self._job.clock.part(part), self._enough_memory(part, epochs.memory_of_a_step):
            state, progress = epochs.validate(epoch, state, progress, speed)
            if phase.schedule is not None and phase.schedule.kind == "plateau":
                state, progress = plateau.after_epoch(self._job.config.optimizer, self._job.mesh, state, progress)
            if progress.is_best(epoch) and epochs.predictions is not None:
                self.best = int(state.step), epochs.predictions
        enough = is_enough(self._job.config.train, phase, progress, epoch)
        ends = epoch == phase.last_epoch or self._interrupted() or enough
        if ends or progress.is_best(epoch) or self._saver.due_after(epoch):
            counts = phase.rounded or self._job.config.train.quantize is None
            self._saver.save(state, phase.freezing, progress, progress.last if counts else None)
        return state, progress, ends

    def _enough_memory(self, what: str, step: memory.Bytes) -> contextlib.AbstractContextManager[None]:
        return memory.explained(self._job.config, what, step, lambda: self._saver.newest)


def is_enough(config: TrainConfig, phase: Phase, progress: Progress, epoch: int) -> bool:
    """Whether early stopping ends the run after this epoch; the epochs of the phase alone count."""
    patience = config.early_stopping_epochs
    if patience is None or progress.best is None or phase.last_epoch != config.epochs:
        return False
    return epoch - max(int(progress.best["epoch"]), phase.first_epoch - 1) >= patience


def enter(job: Job, state: TrainState, progress: Progress, phase: int) -> tuple[TrainState, Progress]:
    """Begin a phase: a new optimizer state, and the proof that the one before kept its frozen part."""
    chosen = job.phases[phase]
    with job.clock.part("initial state"):
        begin = jax.jit(lambda state, schedule: state.enter(chosen.optimizer, chosen.freezing, schedule))
        entered = begin(state, chosen.schedule)
        state = job.mesh.replicate(entered)
    with job.clock.part("hashing"):
        unchanged = progress.frozen_unchanged and _kept(job, state, progress)
        digest = chosen.freezing.digest(state.variables)
    best = None if chosen.rounded else progress.best  # without rounding, a network is better, and not what is wanted
    entered_progress = replace(progress, phase=phase, frozen_digest=digest, frozen_unchanged=unchanged, best=best)
    return state, replace(entered_progress, plateau=None)


def _kept(job: Job, state: TrainState, progress: Progress) -> bool:
    """Whether the frozen part of the current phase is as it was at its beginning."""
    return job.phases[progress.phase].freezing.digest(state.variables) == progress.frozen_digest


def _result(job: Job, state: TrainState, progress: Progress, run: Run) -> dict[str, Any]:
    """What result.json holds."""
    step = int(state.step)
    completed = step == job.steps or run.stopped_early
    plan, parameters = job.phases[-1].features, job.parameters
    return {
        "status": "completed" if completed else "interrupted",
        "stopped_early": run.stopped_early,
        "epochs": step // job.steps_per_epoch,
        "steps": step,
        "best": progress.best,
        "last": progress.last,
        "wall_seconds": round(progress.seconds, 2),
        "images_per_second": round(step * job.config.data.batch_size / max(progress.training_seconds, 1e-9), 1),
        "parameters": parameters,
        "frozen_unchanged": progress.frozen_unchanged and _kept(job, state, progress),
        "flops_per_step": run.work(progress),
        "memory_bytes": progress.memory or {"step": None, "kept": None},
        "features": None if plan is None else {"layer": str(job.model.layers[plan.layers - 1].name), **asdict(plan)},
    }


@contextlib.contextmanager
def _disk_errors(workdir: Path) -> Generator[None, None, None]:
    """A disk that is full or cannot be written, as an error that says so."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise RunFailed(
            f"the run in {workdir} could not go on: {what}\n"
            "  What was saved stays. Make room or mend the permissions, then start the same command again"
        ) from error
