"""The epochs of one phase: training steps, then validation."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float32, Int

from cnn_jax.data.stream import Batch
from cnn_jax.errors import RunFailed
from cnn_jax.evaluation.evaluator import predict_all
from cnn_jax.evaluation.metrics import Predictions, accuracy_and_loss
from cnn_jax.runtime.compiling import Ahead
from cnn_jax.training import flops
from cnn_jax.training.classifier import solve, solved_state
from cnn_jax.training.loaders import Loader
from cnn_jax.training.phases import Phase
from cnn_jax.training.resident import Pace, Ran, Reports
from cnn_jax.training.run.logs import MetricsLog, Reporter
from cnn_jax.training.run.progress import Metrics, Progress
from cnn_jax.training.saving import Saver
from cnn_jax.training.schedule import Schedule
from cnn_jax.training.setup import Job
from cnn_jax.training.solver import Solution
from cnn_jax.training.state import Totals, TrainState
from cnn_jax.training.step import Report, make_predict, make_train_step, train_step

TRANSFERS_AHEAD = 2
"""Batches that are sent to an accelerator before their step begins; on CPU there is no way for them to go."""
NAMED_FILES = 8
"""Images of a bad batch that its error names."""


class Epochs:
    """Trains and validates. Close it, to stop the threads that prepare batches."""

    def __init__(
        self, job: Job, phase: Phase, loader: Loader, saver: Saver, log: MetricsLog, reporter: Reporter
    ) -> None:
        self._job, self._phase, self._loader, self._saver = job, phase, loader, saver
        self._log, self._reporter, self._clock = log, reporter, job.clock
        parts = loader.model, phase.optimizer, phase.freezing
        self._jitted = (
            make_train_step(*parts, job.mesh, loader.options)
            if loader.resident is None
            else loader.resident.steps(train_step(*parts, loader.options))
        )
        self._pace = Pace()
        self._compiled: Any = None
        self._predict = Ahead(make_predict(loader.model, job.mesh))
        self._batches: Generator[dict[str, Any], None, None] | None = None
        self._flops: float | None = None
        self._memory: dict[str, int | None] | None = None
        self._solution: Solution | None = None
        self._held: list[Batch] | None = None
        self.predictions: Predictions | None = None
        """Of the newest validation."""

    def close(self) -> None:
        """Stop the threads that prepare batches."""
        if self._batches is not None:
            self._batches.close()

    def memory_of_a_step(self) -> int | None:
        """Bytes on a device, as the compiler plans them; None before the step is compiled."""
        return None if self._memory is None else self._memory["step"]

    def train(
        self, epoch: int, state: TrainState, progress: Progress, stopped: Callable[[], bool]
    ) -> tuple[TrainState, Progress, float]:
        """Train to the end of the epoch or until `stopped`, saving where that is due in between.

        Returns:
            State and progress, and the number of images a second.

        Raises:
            RunFailed: a loss or gradient is not finite, or a checkpoint cannot be written.
        """
        size, first, end = self._job.config.data.batch_size, int(state.step), epoch * self._job.steps_per_epoch
        if self._phase.solved:
            return self._solve(state, progress, stopped)
        if self._batches is None and self._loader.resident is None:
            ahead = 0 if jax.default_backend() == "cpu" else TRANSFERS_AHEAD
            self._batches = self._job.mesh.placed(self._loader.training(first), ahead)
        begun, step, pending = time.perf_counter(), first, None

        def progressed() -> Progress:
            seconds = progress.training_seconds + time.perf_counter() - begun
            work, memory = self._flops or progress.flops, self._memory or progress.memory
            return replace(progress, training_seconds=seconds, flops=work, memory=memory)

        with self._reporter.bar(f"epoch {epoch}/{self._job.config.train.epochs}", end - first, "images") as bar:
            while step < end and not stopped():
                state, ran = self._advance(state, step, self._saver.next_due(step, end) - step)
                if pending is not None:  # one step, or call, runs while the next is prepared, and no more than that
                    bar.advance(size * pending.steps, f"loss {self._checked(pending):.4f}")
                step, pending = step + ran.steps, ran
                if step < end and self._saver.due(step):
                    self._checked(pending)
                    self._saver.save(state, self._phase.freezing, progressed())
            if pending is not None:
                self._checked(pending)
        seconds = time.perf_counter() - begun
        speed = (int(state.step) - first) * size / max(seconds, 1e-9)
        return state, progressed(), speed

    def _solve(
        self, state: TrainState, progress: Progress, stopped: Callable[[], bool]
    ) -> tuple[TrainState, Progress, float]:
        """`train`, where the classifier is solved."""
        self._reporter.line(f"start      {self._clock}")
        begun, images = time.perf_counter(), len(self._job.dataset.splits["train"])
        assert self._loader.features is not None
        found = solve(self._job, self._loader.features, self._reporter, stopped)
        seconds = time.perf_counter() - begun
        if found is not None:
            state, self._solution = solved_state(self._job, self._phase, state, found), found
        memory = {"step": None, "kept": self._loader.kept_bytes}
        progress = replace(progress, training_seconds=progress.training_seconds + seconds, flops=None, memory=memory)
        return state, progress, images / max(seconds, 1e-9)

    def _advance(self, state: TrainState, step: int, most: int) -> tuple[TrainState, Ran]:
        """Start the next step, or of data on the devices the next few, `most` at most."""
        if self._loader.resident is None:
            assert self._batches is not None
            batch = next(self._batches)
            state, report = self._step(state, batch)
            return state, Ran(step + 1, 1, report, lambda _: batch["index"])
        call = self._loader.resident.call(step, min(most, self._pace.steps))
        state, reports = self._pace.run(self._run, state, *call.arguments)
        return state, Ran(call.first, call.steps, reports, self._loader.resident.indices)

    def _step(self, state: TrainState, batch: dict[str, Any]) -> tuple[TrainState, Report]:
        return self._run(state, *self._loader.taught.arguments(batch))

    def _run(self, state: TrainState, *arguments: Any) -> tuple[TrainState, Report | Reports]:
        """Run the program, which is compiled at first."""
        if self._compiled is not None:
            return self._compiled(state, *arguments)
        self._compiled = self._compile(state, *arguments)
        with self._clock.part("first step"):
            result = jax.block_until_ready(self._compiled(state, *arguments))
        self._reporter.line(f"start      {self._clock}")
        return result

    def _compile(self, state: TrainState, *arguments: Any) -> Any:
        """The program for arrays of these shapes, and what it takes; that of the validation begins to be made."""
        rows, teacher = arguments[0], self._job.teacher
        if self._loader.validation is not None:
            evaluated = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state.evaluated)
            size = self._job.config.data.eval_batch_size
            self._predict.start(evaluated, jax.ShapeDtypeStruct((size, *rows.shape[1:]), rows.dtype))
        with self._clock.part("compilation"):
            compiled = self._jitted.lower(state, *arguments).compile()
            of_a_device = flops.compiled_step(
                self._loader.model,
                self._phase.freezing,
                self._job.variables,
                compiled,
                jax.ShapeDtypeStruct((self._job.config.data.batch_size, *rows.shape[1:]), rows.dtype),
                self._job.options.microbatches,
                None if teacher is None or not teacher.inside else (teacher.run.model, teacher.run.variables),
            )
        self._flops = of_a_device and of_a_device * self._job.mesh.devices
        self._memory = {"step": _bytes_of(compiled), "kept": self._loader.kept_bytes}
        return compiled

    def _checked(self, ran: Ran) -> float:
        """The loss of the last of some steps.

        Raises:
            RunFailed: a loss, or gradient, is not finite: nothing of the state is worth keeping from there on.
        """
        losses, norms = (np.ravel(ran.reports[name])[: ran.steps] for name in ("loss", "gradient_norm"))
        finite = np.isfinite(losses) & np.isfinite(norms)
        if finite.all():
            return float(losses[-1])
        place = int(finite.argmin())
        step, loss, norm = ran.first + place, losses[place], norms[place]
        indices = ran.indices(step)
        ids = self._job.dataset.splits["train"].ids
        names = [ids[index] for index in indices[:NAMED_FILES]]
        more = f" and {len(indices) - len(names)} more" if len(indices) > len(names) else ""
        newest = self._saver.newest
        good = "There is no checkpoint yet" if newest is None else f"The newest checkpoint, of step {newest}, is good"
        raise RunFailed(
            f"step {step} has a loss of {loss} and a gradient of norm {norm}; its images: {', '.join(names)}{more}.\n"
            f"  {good}; nothing was saved after it. Try a lower --optimizer.learning_rate, or --optimizer.clip_norm=1, "
            "in a new --workdir"
        )

    def validate(self, epoch: int, state: TrainState, progress: Progress, speed: float) -> tuple[TrainState, Progress]:
        """Evaluate after the last step of an epoch, write the metrics, and begin new totals.

        Without validation images, the metrics are those of training alone, and no epoch becomes the best.
        """
        begun = time.perf_counter()
        self.predictions = self._predictions(state)
        seconds, images, validation = time.perf_counter() - begun, 0, None
        if self.predictions is not None:
            images, validation = len(self.predictions.labels), accuracy_and_loss(self.predictions)
            progress = progress.validated(epoch, validation)
        with self._clock.part("logs"):
            self._report(epoch, state, progress, validation, speed, images / max(seconds, 1e-9))
        return replace(state, totals=self._job.mesh.replicate(Totals.zero())), progress

    def _predictions(self, state: TrainState) -> Predictions | None:
        """What the network says of the validation images; None without any."""
        if self._loader.validation is None:
            return None
        variables, batches = state.evaluated, self._validation(self._loader.validation)
        with self._reporter.bar("validation", len(self._job.dataset.splits["validation"]), "images") as bar:
            return predict_all(
                partial(self._predict, variables), batches, lambda count: bar.advance(count, items=count)
            )

    def _validation(self, batches: Callable[[], Iterable[Batch]]) -> Iterable[Batch]:
        """The batches on the devices; beside training data that stay there, they are put there once."""
        if self._held is not None:
            return self._held
        mesh = self._job.mesh
        found: Iterator[Any] = ({**b, "image": mesh.put_batch(b["image"])} for b in mesh.with_all_labels(batches()))
        if self._loader.resident is None:
            return found
        self._held = list(found)
        return self._held

    def _report(
        self,
        epoch: int,
        state: TrainState,
        progress: Progress,
        validation: Metrics | None,
        training_speed: float,
        validation_speed: float,
    ) -> None:
        step, training = int(state.step), state.totals.means()
        in_phase = step - (self._phase.first_epoch - 1) * self._job.steps_per_epoch
        schedule, solution = state.settings.schedule, self._solution
        rate = None if schedule is None else float(_rate(schedule, in_phase - 1))
        how = {"learning_rate": rate} if solution is None else {"l2": solution.l2, "iterations": solution.iterations}
        speeds = [{"images_per_second": round(speed, 1)} for speed in (training_speed, validation_speed)]
        place = {"step": step, "epoch": epoch}
        lines = [{**place, "split": "train", **training, **how, **speeds[0]}]
        if validation is not None:
            lines.append({**place, "split": "validation", **validation, **speeds[1]})
        self._log.write(*lines)
        self._reporter.epoch(
            f"{epoch}/{self._job.config.train.epochs}",
            training,
            validation,
            rate,
            training_speed,
            progress.is_best(epoch),
        )


@jax.jit  # one program: operation by operation, each would be compiled on its own
def _rate(schedule: Schedule, step: Int[Array, ""]) -> Float32[Array, ""]:
    return schedule(step)


def _bytes_of(compiled: Any) -> int | None:
    """What a compiled program holds at once, as the compiler plans it; None where it does not say."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    reused = found.alias_size_in_bytes  # arguments that were given away hold the results
    return found.argument_size_in_bytes + found.output_size_in_bytes - reused + found.temp_size_in_bytes
