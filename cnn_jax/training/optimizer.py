"""From the configuration to an optax transformation of the trainable parameters."""

import optax

from cnn_jax.config import OptimizerConfig


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The update rule. It is only ever given the trainable partition, so clipping sees nothing else either."""
    if config.name == "adam":
        rule = optax.adam(config.learning_rate, eps=config.epsilon)
    else:
        rule = optax.sgd(config.learning_rate, config.momentum or None)
    if config.clip_norm is None:
        return rule
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
