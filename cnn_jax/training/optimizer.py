"""From the configuration to an optax transformation of the trainable parameters."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn_jax.config import OptimizerConfig
from cnn_jax.models.head import HEAD
from cnn_jax.training.schedule import Schedule

KERAS_ADAMW_DECAY = 0.004
"""Default of keras.optimizers.AdamW."""


def make_optimizer(
    config: OptimizerConfig, layers: Mapping[str, Collection[str]], head: Collection[str] = (HEAD,)
) -> optax.GradientTransformationExtraArgs:
    """The update rule; `update` takes the learning rate as its argument `schedule`, of which nothing is compiled in.

    It is only ever given the trainable partition, so clipping sees nothing else either.

    Args:
        layers: the names of the parameters of every layer, frozen ones too, in the order of the chain.
        head: those of the layers that are the new head.
    """
    parts = [] if config.clip_norm is None else [optax.clip_by_global_norm(config.clip_norm)]
    parts.append(_direction(config))
    decay = config.weight_decay
    if decay is None:
        decay = KERAS_ADAMW_DECAY if config.name == "adamw" else 0.0
    if decay:
        parts.append(optax.add_decayed_weights(decay, _kernels))
    if config.name == "lamb":
        parts.append(optax.scale_by_trust_ratio())
    parts.append(_scale_by_schedule())
    factors = layer_factors(config, layers, head)
    if any(factor != 1 for factor in factors.values()):
        parts.append(_scale_layers(factors))
    return optax.chain(*parts)


def _scale_by_schedule() -> optax.GradientTransformationExtraArgs:
    """Go down by the learning rate of the schedule that `update` is given."""

    def init(params: Any) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(
        updates: Any, state: optax.ScaleByScheduleState, params: Any = None, *, schedule: Schedule, **_: Any
    ) -> tuple[Any, optax.ScaleByScheduleState]:
        rate = schedule(state.count)
        return jax.tree.map(lambda u: -rate * u, updates), optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


def _direction(config: OptimizerConfig) -> optax.GradientTransformation:
    """What the learning rate multiplies, as in Keras' optimizer of the same name."""
    if config.name == "sgd":
        momentum = 0.9 if config.momentum is None else config.momentum
        return optax.trace(momentum, nesterov=config.nesterov) if momentum else optax.identity()
    if config.name == "rmsprop":
        rms = optax.scale_by_rms(config.rho, config.epsilon, eps_in_sqrt=True)
        return optax.chain(rms, optax.trace(config.momentum)) if config.momentum else rms
    if config.name != "lamb" and config.epsilon_form == "keras":
        return _scale_by_keras_adam(config.beta_1, config.beta_2, config.epsilon)
    return optax.scale_by_adam(config.beta_1, config.beta_2, config.epsilon)


def _scale_by_keras_adam(beta_1: float, beta_2: float, epsilon: float) -> optax.GradientTransformation:
    """Adam with `epsilon hat` (Kingma and Ba, 2015, end of section 2), as in Keras.

    Epsilon is added to the root of the second moment before its bias is corrected, so that in the first steps it counts
    for 1 / sqrt(1 - beta_2 ** step) times as much as in `optax.scale_by_adam`, whose state this shares.
    """
    paper = optax.scale_by_adam(beta_1, beta_2, epsilon)

    def update(gradients: Any, state: optax.ScaleByAdamState, params: Any = None) -> tuple[Any, Any]:
        _, state = paper.update(gradients, state, params)
        steps = state.count.astype(jnp.float32)
        factor = jnp.sqrt(1 - beta_2**steps) / (1 - beta_1**steps)
        return jax.tree.map(lambda m, v: factor * m / (jnp.sqrt(v) + epsilon), state.mu, state.nu), state

    return optax.GradientTransformation(paper.init, update)


def _kernels(params: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, bool]]:
    """Which leaves decay: kernels do; biases, and the scales of batch norms, do not."""
    return {layer: {leaf: leaf == "kernel" for leaf in leaves} for layer, leaves in params.items()}


def layer_factors(
    config: OptimizerConfig, layers: Mapping[str, Collection[str]], head: Collection[str] = (HEAD,)
) -> dict[str, float]:
    """By what each layer's learning rate is multiplied; arguments as for `make_optimizer`.

    `layer_decay` counts the layers with a kernel, from the end of the chain; a batch norm goes with the convolution
    before it. The head has its own multiplier on top.
    """
    factors, depth = {}, 0
    for layer in reversed(list(layers)):
        factors[layer] = config.layer_decay**depth
        depth += "kernel" in layers[layer]
    for layer in factors.keys() & set(head):
        factors[layer] *= config.head_learning_rate_multiplier
    return factors


def _scale_layers(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiply the updates of each layer by its factor; no state."""

    def scale(updates: Any, params: Any = None) -> Any:
        return {layer: jax.tree.map(lambda u, f=factors[layer]: u * f, leaves) for layer, leaves in updates.items()}

    return optax.stateless(scale)
