"""The parts of a run that train different partitions: first the head alone, where that is asked for, then the rest."""

from dataclasses import dataclass

import optax

from cnn_jax.config import Config
from cnn_jax.errors import ConfigError
from cnn_jax.models.model import HEAD, Model
from cnn_jax.training import feature_cache
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.optimizer import Schedule, make_optimizer, make_schedule


@dataclass(frozen=True)
class Phase:
    """Epochs that train the same parameters, with one optimizer from its beginning to its end."""

    first_epoch: int
    """Counted from 1, as in the logs."""
    last_epoch: int
    freezing: Freezing
    optimizer: optax.GradientTransformation
    schedule: Schedule
    """Of the steps since the beginning of the phase."""
    features: feature_cache.Plan | None
    """What is kept of the frozen layers' outputs."""
    without_features: str
    """Where nothing is kept, the reason."""


def make_phases(config: Config, model: Model, images: dict[str, int], steps_per_epoch: int) -> tuple[Phase, ...]:
    """The phases of a run, in order.

    Args:
        images: the numbers of images in train and validation.

    Raises:
        ConfigError: a freeze point, pattern or feature cache that this model cannot have.
    """
    main = Freezing.configured(model, config.train)
    head_epochs, epochs = config.train.head_epochs, config.train.epochs
    parts = [(1, head_epochs, Freezing.until(model, HEAD)), (head_epochs + 1, epochs, main)]
    phases = []
    for first, last, freezing in parts:
        steps = (last - first + 1) * steps_per_epoch
        if not steps:
            continue
        if not freezing.split(model.shapes["params"])[0]:
            raise ConfigError("train.frozen: with these patterns nothing is left to train")
        schedule = make_schedule(config.optimizer, steps, steps_per_epoch)
        plan, reason = feature_cache.plan(config, model, freezing, images, steps * config.data.batch_size)
        optimizer = make_optimizer(config.optimizer, schedule, model.parameter_shapes)
        phases.append(Phase(first, last, freezing, optimizer, schedule, plan, reason))
    return tuple(phases)
