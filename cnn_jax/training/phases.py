"""The parts of a run that train different partitions: first the head alone, where that is asked for, then the rest."""

import math
from dataclasses import dataclass, replace

import optax

from cnn_jax.config import Config
from cnn_jax.errors import ConfigError
from cnn_jax.models.head import HEAD
from cnn_jax.models.layers import Dropout
from cnn_jax.models.model import Model
from cnn_jax.training.features.plan import Plan, make_plan
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.optimizer import make_optimizer
from cnn_jax.training.schedule import Schedule, make_schedule


@dataclass(frozen=True)
class Phase:
    """Epochs that train the same parameters, with one optimizer from its beginning to its end."""

    first_epoch: int
    """Counted from 1, as in the logs."""
    last_epoch: int
    freezing: Freezing
    optimizer: optax.GradientTransformation
    schedule: Schedule | None
    """Of the steps since the beginning of the phase; None where nothing is stepped, but the classifier solved."""
    features: Plan | None
    """What is kept of the frozen layers' outputs."""
    without_features: str
    """Where nothing is kept, the reason."""
    rounded: bool = False
    """Whether it trains, and validates, with the rounding of int8 (see `cnn_jax.models.quantization`)."""

    @property
    def solved(self) -> bool:
        """Whether its one epoch solves the classifier (see `classifier`)."""
        return self.schedule is None


def make_phases(config: Config, model: Model, images: dict[str, int], steps_per_epoch: int) -> tuple[Phase, ...]:
    """The phases of a run, in order.

    Args:
        images: the numbers of images in train and validation.

    Raises:
        ConfigError: a freeze point, pattern, feature cache or rule that this model cannot have.
    """
    main = Freezing.configured(model, config.train)
    rounded = 0 if config.train.quantize is None else config.train.quantize_epochs
    head_epochs, epochs, name = config.train.head_epochs, config.train.epochs - rounded, config.optimizer.name
    head_name = name if config.optimizer.head_name == "same" else config.optimizer.head_name
    parts = [
        (1, head_epochs, Freezing.until(model, HEAD), f"optimizer.head_name={head_name}", head_name),
        (head_epochs + 1, epochs, main, f"optimizer.name={name}", name),
    ]
    phases = []
    for first, last, freezing, setting, rule in parts:
        steps = (last - first + 1) * steps_per_epoch
        if not steps:
            continue
        if not freezing.split(model.shapes["params"])[0]:
            raise ConfigError("train.frozen: with these patterns nothing is left to train")
        if rule == "lbfgs":
            kept = _plan_to_solve(config, model, freezing, images, setting)
            phases.append(Phase(first, last, freezing, optax.identity(), None, kept, ""))
            continue
        schedule = make_schedule(config.optimizer, steps, steps_per_epoch)
        plan, reason = make_plan(config, model, freezing, images, steps * config.data.batch_size)
        optimizer = make_optimizer(config.optimizer, model.parameter_shapes, model.new_layers)
        phases.append(Phase(first, last, freezing, optimizer, schedule, plan, reason))
    if rounded:
        phases.append(_rounded(config, model, main, epochs + 1, steps_per_epoch))
    return tuple(phases)


def _rounded(config: Config, model: Model, freezing: Freezing, first: int, steps_per_epoch: int) -> Phase:
    """The last phase, with the rounding of int8: nothing is kept, since the frozen layers' outputs change too."""
    if config.optimizer.name == "lbfgs":
        raise ConfigError("train.quantize: optimizer.name=lbfgs takes no steps; give it as optimizer.head_name")
    last = config.train.epochs
    rate = config.optimizer.learning_rate * config.train.quantize_learning_rate_multiplier
    slower = replace(config.optimizer, learning_rate=rate)
    schedule = make_schedule(slower, (last - first + 1) * steps_per_epoch, steps_per_epoch)
    optimizer = make_optimizer(slower, model.parameter_shapes)
    kept, reason = freezing.with_rounding(model), "train.quantize rounds what the frozen layers give"
    return Phase(first, last, kept, optimizer, schedule, None, reason, rounded=True)


def _plan_to_solve(config: Config, model: Model, freezing: Freezing, images: dict[str, int], setting: str) -> Plan:
    """What is kept for a classifier that is solved; `setting` is what asks for it."""
    trainable = freezing.split(model.shapes["params"])[0]
    if {layer: set(leaves) for layer, leaves in trainable.items()} != {HEAD: {"kernel", "bias"}}:
        raise ConfigError(
            f"{setting} solves the classifier alone, and more or less than that trains here: "
            "--train.freeze_until=head, without train.frozen"
        )
    if config.train.loss != "cross_entropy":
        raise ConfigError(
            f"{setting} solves the classifier for cross-entropy; train.loss={config.train.loss} is another"
        )
    if config.train.teacher is not None:
        raise ConfigError(f"{setting} solves the classifier for the labels alone: it cannot learn from train.teacher")
    plan, reason = make_plan(config, model, freezing, images, math.inf)
    if plan is None:
        raise ConfigError(f"{setting} solves the classifier on cached features: {reason}")
    if not plan.in_memory:
        raise ConfigError(
            f"{setting} needs all features in memory, {plan.megabytes:,.0f} MB: more than "
            f"train.feature_memory_megabytes={config.train.feature_memory_megabytes}"
        )
    assert all(isinstance(layer, Dropout) for layer in model.layers[plan.layers : -1])
    return plan
