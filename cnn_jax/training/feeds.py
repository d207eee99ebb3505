"""What the steps of a phase are fed with: the images themselves, or the kept features of them."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

from cnn_jax.data.rows import evaluation_rows, training_rows
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import Batch, TrainStream, evaluation_batches, in_memory
from cnn_jax.models.model import Model
from cnn_jax.training.feature_cache import FeatureCache
from cnn_jax.training.logs import Reporter
from cnn_jax.training.phases import Phase
from cnn_jax.training.setup import Job
from cnn_jax.training.state import TrainState


@dataclass(frozen=True)
class Feed:
    """Batches, and the part of the model that takes them."""

    model: Model
    training: Callable[[int], Generator[Batch, None, None]]
    """The endless batches from a step on."""
    validation: Callable[[], Generator[Batch, None, None]]
    examples: Split
    """The validation images, decoded where they are kept in memory."""


def make_feed(
    job: Job, phase: Phase, state: TrainState, reporter: Reporter, stopped: Callable[[], bool]
) -> Feed | None:
    """The feed of a phase; None where `stopped` says that the user does not want to wait for it.

    Raises:
        DataError: an image cannot be read; the message names the file.
    """
    data, seed, resize = job.config.data, job.config.seed, job.resize
    training, validation = job.dataset.splits["train"], job.dataset.splits["validation"]
    place = job.mesh.process, job.mesh.processes
    if phase.features is None:
        if job.mesh.processes == 1:  # of several, each decodes its part alone, which is another one in every epoch
            budget = data.memory_megabytes * 2**20
            validation = in_memory(validation, resize, budget)
            if not data.augment.reads_originals:
                training = in_memory(training, resize, budget)
        stream = TrainStream(training, resize, data.batch_size, seed, data.augment, *place)
        batches = partial(evaluation_batches, validation, resize, data.eval_batch_size, *place)
        return Feed(job.model, stream.batches, batches, validation)
    cache = FeatureCache(phase.features, job.config, job.model, state.variables, job.mesh)
    kept = cache.load(training, validation, reporter, stopped)
    if kept is None:
        return None
    return Feed(
        job.model.part(phase.features.layers),
        lambda first: training_rows(kept.training, training.labels, data.batch_size, seed, first, *place),
        lambda: evaluation_rows(kept.validation, validation.labels, data.eval_batch_size, *place),
        validation,
    )
