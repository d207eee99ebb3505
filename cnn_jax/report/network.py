"""The network: its layers, where the frozen part ends, and the proof that it stayed as it was."""

from dataclasses import dataclass

from cnn_jax.config.image_size import in_pixels
from cnn_jax.models.head import HEAD
from cnn_jax.models.summary import LayerSummary, summarise
from cnn_jax.report.record import RESULT, Number, Record, count
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.trained_run import TrainedRun


@dataclass(frozen=True)
class Network:
    """The section."""

    name: str
    image_size: str
    """In words."""
    layers: tuple[LayerSummary, ...]
    first_trainable: str | None
    freeze_until: str
    macs: int
    """For one image."""
    total: Number
    trainable: Number
    frozen: Number
    unchanged: bool | None
    """Whether the frozen part is bit-identical to the start; None where result.json is missing."""
    digest: str
    """SHA-256 of the frozen parameters and statistics in the checkpoint."""
    digest_at_start: str | None
    """The same before the first step of the phase, as recorded then."""


def network(run: TrainedRun, record: Record) -> Network:
    """The layers as the last phase of the run trains them."""
    config = run.config
    freezing = Freezing.configured(run.model, config.train)
    summary = summarise(run.model, lambda params: freezing.split(params)[0], config.data.batch_size)
    return Network(
        config.model.name,
        in_pixels(run.model.image_size),
        summary.layers,
        summary.first_trainable,
        config.train.freeze_until,
        summary.total("macs"),
        total=record.result(count, "parameters", "total"),
        trainable=record.result(count, "parameters", "trainable"),
        frozen=record.result(count, "parameters", "frozen"),
        unchanged=record.get(RESULT, "frozen_unchanged"),
        digest=_freezing_of_phase(run, freezing).digest(run.variables),
        digest_at_start=run.meta.get("progress", {}).get("frozen_digest"),
    )


def _freezing_of_phase(run: TrainedRun, last: Freezing) -> Freezing:
    """What is frozen in the phase that the checkpoint is of: all but the head, or what the last phase freezes."""
    is_first = run.meta.get("progress", {}).get("phase", 0) == 0
    return Freezing.until(run.model, HEAD) if run.config.train.head_epochs and is_first else last
