"""What the runs of a sweep reached, gathered into a row for each freeze point and learning rate."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from cnn_jax.data import splits
from cnn_jax.errors import DataError
from cnn_jax.evaluation.metrics import wilson_interval
from cnn_jax.sweeping.grid import Run

COURSE = {
    "conv_pw_10_bn": "the course's layers[:-23], exactly",
    "conv_pw_10": "the course's layers[:-23], and the kernel of conv_pw_10",
}
"""MobileNet: the freeze point of the course. There, `for layer in model.layers[:-23]: layer.trainable = False` leaves
conv_pw_10_bn and all that follows to train (keras.applications, counted by parameters: 1,873,930 with ten classes)."""

COMPLETED, FAILED, OPEN = "completed", "failed", "open"


@dataclass(frozen=True)
class Reached:
    """What one run of the sweep came to."""

    seed: int
    directory: str
    status: str
    """completed, failed, or open: not begun, or stopped on the way."""
    error: str | None = None
    accuracy: float | None = None
    """Validation accuracy of the best epoch, whose checkpoint `evaluate` takes."""
    loss: float | None = None
    best_epoch: int | None = None
    validation_images: int | None = None
    seconds_per_epoch: float | None = None
    """Training and validation: the median of the epochs after the first, which compiles."""
    wall_seconds: float | None = None
    memory_bytes: dict[str, int | None] | None = None
    flops_per_image: float | None = None
    flops_share: float | None = None
    """Of a step that trains every layer from the images."""
    frozen_unchanged: bool | None = None


@dataclass(frozen=True)
class Row:
    """A freeze point with a learning rate."""

    freeze_until: str
    learning_rate: float
    note: str
    """Which row of the course it is, if it is one."""
    parameters: dict[str, int]
    status: str
    """completed where any run is; else failed where any did; else open."""
    accuracy: float | None
    """Mean over the seeds."""
    interval: tuple[float, float] | None
    """95 %."""
    interval_kind: str | None
    """`wilson`, of the validation images of the one seed, or `t`, over the seeds."""
    loss: float | None
    seconds_per_epoch: float | None
    memory_bytes: dict[str, int | None] | None
    flops_per_image: float | None
    flops_share: float | None
    runs: tuple[Reached, ...]

    @property
    def errors(self) -> list[str]:
        """Of its runs that failed."""
        return [run.error for run in self.runs if run.error is not None]

    @property
    def done(self) -> list[Reached]:
        """Its runs that are complete."""
        return [run for run in self.runs if run.status == COMPLETED]

    @property
    def best_run(self) -> Reached:
        """The run with the highest accuracy, of equal ones the lowest loss."""
        return max(self.done, key=_rank)

    @property
    def memory(self) -> int | None:
        """Bytes: of the program of a training step, and of images or features that are kept."""
        parts = (self.memory_bytes or {}).values()
        known = [part for part in parts if part is not None]
        return sum(known) if known and (self.memory_bytes or {}).get("step") is not None else None

    def as_json(self, best: bool) -> dict[str, Any]:
        """For sweep.json."""
        return {**asdict(self), "best": best}


def read(run: Run) -> Reached | None:
    """What a completed run says of itself; None where it is not there or not complete."""
    try:
        result = json.loads((run.directory / "result.json").read_text())
        if result["status"] != COMPLETED:
            return None
        lines = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
        images = len(splits.read_ids(run.directory / "split.json")["validation"])
        return _reached(run, result, lines, images)
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None  # `fit` makes the record anew, or says what is wrong


def _reached(run: Run, result: dict[str, Any], lines: list[dict[str, Any]], images: int) -> Reached:
    flops, size = result["flops_per_step"], run.config.data.batch_size
    step, full = flops["step"], flops["full_model"]
    trained = result["steps"] // max(result["epochs"], 1) * size
    speeds = [(line["images_per_second"], line["split"]) for line in lines]
    training = [trained / speed for speed, split in speeds if split == "train" and speed > 0]
    validation = [images / speed for speed, split in speeds if split == "validation" and speed > 0]
    epochs = [sum(parts) for parts in zip(training, validation, strict=False)]
    epochs = epochs[1:] or epochs
    return Reached(
        seed=run.seed,
        directory=str(run.directory),
        status=COMPLETED,
        accuracy=result["best"]["accuracy"],
        loss=result["best"]["loss"],
        best_epoch=result["best"]["epoch"],
        validation_images=images,
        seconds_per_epoch=round(statistics.median(epochs), 3) if epochs else None,
        wall_seconds=result["wall_seconds"],
        memory_bytes=result.get("memory_bytes"),
        flops_per_image=step and step / size,
        flops_share=step and full and step / full,
        frozen_unchanged=result["frozen_unchanged"],
    )


def gather(planned: Sequence[Run], reached: Sequence[Reached], parameters: dict[str, dict[str, int]]) -> list[Row]:
    """The rows, in the order of the runs.

    Args:
        parameters: by freeze point, see `Grid.parameters`.
    """
    grouped: dict[tuple[str, float], list[Reached]] = {}
    for run, outcome in zip(planned, reached, strict=True):
        grouped.setdefault((run.freeze_until, run.learning_rate), []).append(outcome)
    notes = COURSE if planned[0].config.model.name == "mobilenet" else {}
    return [_row(*key, notes.get(key[0], ""), parameters[key[0]], outcomes) for key, outcomes in grouped.items()]


def _row(point: str, rate: float, note: str, parameters: dict[str, int], outcomes: list[Reached]) -> Row:
    done = [run for run in outcomes if run.status == COMPLETED]
    status = next((s for s in (COMPLETED, FAILED) if any(run.status == s for run in outcomes)), OPEN)
    accuracies = [run.accuracy for run in done if run.accuracy is not None]
    interval = confidence(done)

    def middle(field: str) -> Any:
        values = [value for run in done if (value := getattr(run, field)) is not None]
        return statistics.median(values) if values else None

    return Row(
        freeze_until=point,
        learning_rate=rate,
        note=note,
        parameters=parameters,
        status=status,
        accuracy=statistics.fmean(accuracies) if accuracies else None,
        interval=interval,
        interval_kind=None if interval is None else "wilson" if len(done) == 1 else "t",
        loss=statistics.fmean(run.loss for run in done if run.loss is not None) if done else None,
        seconds_per_epoch=middle("seconds_per_epoch"),
        memory_bytes=next((run.memory_bytes for run in done if run.memory_bytes), None),
        flops_per_image=middle("flops_per_image"),
        flops_share=middle("flops_share"),
        runs=tuple(outcomes),
    )


def confidence(done: Sequence[Reached]) -> tuple[float, float] | None:
    """The 95 % interval of the accuracy.

    Of one run, Wilson's for its validation images; of several, Student's for the mean over them, which says how far
    seeds differ and not how far other images would. Both within 0 and 1.
    """
    accuracies = np.asarray([run.accuracy for run in done], np.float64)
    if not len(done):
        return None
    if len(done) == 1:
        images = done[0].validation_images or 1
        return wilson_interval(round(accuracies[0] * images), images)
    mean, error = float(accuracies.mean()), float(accuracies.std(ddof=1)) / math.sqrt(len(accuracies))
    half = float(stats.t.ppf(0.975, len(accuracies) - 1)) * error
    return max(mean - half, 0.0), min(mean + half, 1.0)


def best(rows: Sequence[Row]) -> Row | None:
    """The row with the highest accuracy, of equal ones the lowest loss; None where no run is complete."""
    return max((row for row in rows if row.done), key=_rank, default=None)


def not_told_apart(rows: Sequence[Row], chosen: Row) -> list[Row]:
    """The other rows whose intervals reach the accuracy of the chosen one."""
    assert chosen.accuracy is not None
    return [row for row in rows if row is not chosen and row.interval and row.interval[1] >= chosen.accuracy]


def _rank(scored: Row | Reached) -> tuple[float, float]:
    assert scored.accuracy is not None
    assert scored.loss is not None
    return scored.accuracy, -scored.loss
