"""Where the steps of a phase get their batches: from the images themselves, or from the cached features of them."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Int32, Shaped

from cnn_jax.config import AugmentConfig
from cnn_jax.data.array_batches import evaluation_rows, training_batches, training_rows
from cnn_jax.data.augment.device import Side
from cnn_jax.data.sources import ArrayImages, Split
from cnn_jax.data.stream import Batch, evaluation_batches, steps_per_pass
from cnn_jax.io.store import Rows
from cnn_jax.models import quantization
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from cnn_jax.training.features.feature_cache import FeatureCache, Features
from cnn_jax.training.features.plan import Plan
from cnn_jax.training.phases import Phase
from cnn_jax.training.resident import Resident, fits
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.setup import Job
from cnn_jax.training.state import TrainState
from cnn_jax.training.step import Augmentation, StepOptions
from cnn_jax.training.teacher import Taught


@dataclass(frozen=True)
class Loader:
    """Batches, and the part of the model that takes them."""

    model: Model
    options: StepOptions
    """Of the step that takes them."""
    training: Callable[[int], Generator[Batch, None, None]]
    """The endless batches from a step on."""
    validation: Callable[[], Generator[Batch, None, None]] | None
    """None without validation images."""
    examples: Split | None
    """The validation images, decoded where they are kept in memory."""
    kept_bytes: int
    """What images or features take in memory."""
    features: Features | None
    """All that the batches are taken from, where features are cached."""
    taught: Taught = field(default_factory=Taught)
    """What the steps are given of a teacher."""
    resident: Resident | None = None
    """The training data on the devices, where they have room for them; then no batches come from the host."""


def make_loader(
    job: Job, phase: Phase, state: TrainState, augments: Side, reporter: Reporter, stopped: Callable[[], bool]
) -> Loader | None:
    """The loader of a phase; None where `stopped` says that the user does not want to wait for it.

    Args:
        augments: which side augments images that come in every epoch.

    Raises:
        DataError: an image cannot be read; the message names the file.
    """
    taught = _taught(job, reporter, stopped)
    if taught is None:
        return None
    if phase.features is None:
        return _of_images(job, phase, augments, taught, reporter)
    kept = _features(job, phase, phase.features, state.variables, reporter, stopped)
    return None if kept is None else _of_features(job, phase, phase.features.layers, kept, taught, reporter)


def _taught(job: Job, reporter: Reporter, stopped: Callable[[], bool]) -> Taught | None:
    """What the steps are given of the teacher, if there is one; None where `stopped`."""
    teacher = job.teacher
    if teacher is None:
        return Taught()
    if teacher.inside:
        return Taught(variables=job.mesh.replicate(teacher.run.variables))
    examples = job.shared.decoded("train", job.dataset.splits["train"], teacher.run.resize)
    rows = teacher.logits(examples, job.mesh, job.config.data.eval_batch_size, reporter, stopped)
    return None if rows is None else Taught(rows)


def _of_images(job: Job, phase: Phase, augments: Side, taught: Taught, reporter: Reporter) -> Loader:
    data, seed, resize = job.config.data, job.config.seed, job.resize
    training, validation = _splits(job)
    place = job.mesh.process, job.mesh.processes
    augment, options = data.augment, job.options
    if augments == "device":
        reporter.line("augment    images on the device, inside the step")
        inside = Augmentation(data.augment, steps_per_pass(len(training), data.batch_size))
        augment, options = AugmentConfig(), replace(options, augmentation=inside)
    if job.mesh.processes == 1:  # of several, each decodes its part alone, which is another one in every epoch
        budget = data.memory_megabytes * 2**20
        validation = job.shared.in_memory("validation", validation, resize, budget, data.disk_megabytes)
        if not augment.reads_originals:
            training = job.shared.in_memory("train", training, resize, budget, data.disk_megabytes)
    batches = partial(evaluation_batches, validation, resize, data.eval_batch_size, *place)
    arrays = [split.images.pixels for split in (validation, training) if isinstance(split.images, ArrayImages)]
    stay = len(arrays) == 2 and not augment.changes_images
    return Loader(
        model=quantization.active(job.model) if phase.rounded else job.model,
        options=options,
        training=lambda first: taught.batches(
            training_batches(training, resize, data.batch_size, seed, augment, first, *place)
        ),
        validation=batches if len(validation) else None,
        examples=validation if len(validation) else None,
        kept_bytes=sum(array.nbytes for array in arrays),
        features=None,
        taught=taught,
        resident=_resident(job, arrays, training.labels, False, taught, reporter) if stay else None,
    )


def _of_features(job: Job, phase: Phase, layers: int, kept: Features, taught: Taught, reporter: Reporter) -> Loader:
    """`layers` is how many of the network's first ones gave the features."""
    data, seed, resize = job.config.data, job.config.seed, job.resize
    training, validation = _splits(job)
    place = job.mesh.process, job.mesh.processes
    arrays = [rows for rows in (*kept.training, kept.validation) if isinstance(rows, np.ndarray)]
    rows = partial(evaluation_rows, kept.validation, validation.labels, data.eval_batch_size, *place)
    on_devices = kept.validation, *kept.training
    return Loader(
        model=job.model.part(layers),
        options=job.options,
        training=lambda first: taught.batches(
            training_rows(kept.training, training.labels, data.batch_size, seed, first, *place)
        ),
        validation=rows if len(validation) else None,
        examples=job.shared.decoded("validation", validation, resize) if len(validation) else None,
        kept_bytes=sum(array.nbytes for array in arrays),
        features=kept,
        taught=taught,
        resident=None if phase.solved else _resident(job, on_devices, training.labels, True, taught, reporter),
    )


def _resident(
    job: Job,
    rows: Sequence[Shaped[np.ndarray, "_ ..."] | Rows],
    labels: Int32[np.ndarray, " n"],
    features: bool,
    taught: Taught,
    reporter: Reporter,
) -> Resident | None:
    """The training data on the devices, where these have room for all; None where the data stay with the host.

    Args:
        rows: of validation, then of training, a view each.
        features: whether they are cached features.
    """
    arrays = [array for array in rows if isinstance(array, np.ndarray)]
    if len(arrays) < len(rows) or not fits(arrays, job.config.data.device_memory_share, job.mesh, features):
        return None
    megabytes = sum(array.nbytes for array in arrays) / 2**20
    if jax.default_backend() != "cpu":
        reporter.line(f"device     {megabytes:,.0f} MB of training and validation data stay there: no batches are sent")
    return Resident(arrays[1:], labels, job.config.data.batch_size, job.config.seed, job.mesh, taught)


def _splits(job: Job) -> tuple[Split, Split]:
    """Training and validation, which is none of the training images where there is none."""
    training = job.dataset.splits["train"]
    return training, job.dataset.splits.get("validation", training.take([]))


def _needed_later(job: Job, phase: Phase, plan: Plan) -> list[Plan]:
    """Features of fewer layers that a later phase trains on: those of this one go on from them, and both cost one pass.

    Only where the cache folder keeps them until then.
    """
    later = [other.features for other in job.phases if other.first_epoch > phase.last_epoch]
    room = job.config.train.feature_disk_megabytes - plan.megabytes
    return [other for other in later if other and other.layers < plan.layers and other.megabytes <= room]


def _features(
    job: Job, phase: Phase, plan: Plan, variables: Variables, reporter: Reporter, stopped: Callable[[], bool]
) -> Features | None:
    """The features of a phase; made, where they have to be, of decoded images where those are in memory."""
    splits = _splits(job)
    read = job.shared.decoded("train", splits[0], job.resize), job.shared.decoded("validation", splits[1], job.resize)

    def cache(plan: Plan) -> FeatureCache:
        return FeatureCache(plan, job.config, job.model, variables, job.mesh)

    own, later = cache(plan), _needed_later(job, phase, plan)
    before = later if later and not own.has(splits) else []
    if any(cache(other).load(splits, read, reporter, stopped) is None for other in before):
        return None
    return own.load(splits, read, reporter, stopped)
