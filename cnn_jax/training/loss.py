"""The training loss: cross-entropy or focal loss, with smoothed targets, weighted classes, and a teacher's part."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float32, Int, Int32

from cnn_jax.data.mixing import Mixed
from cnn_jax.errors import ConfigError

EFFECTIVE_BETA = 0.999
"""Cui et al., "Class-Balanced Loss Based on Effective Number of Samples" (2019), try 0.9 to 0.9999."""


def losses(
    logits: Float32[Array, "b classes"],
    labels: Int32[Array, " b"],
    smoothing: float,
    class_weights: Float32[Array, " classes"] | None,
    focal_gamma: float | None = None,
) -> Float32[Array, " b"]:
    """Cross-entropy of each example in nats, as Keras' loss with `label_smoothing` and `fit` with `class_weight`.

    Args:
        logits: of the network.
        labels: the right classes.
        smoothing: share of the target that is spread over all classes, the right one included.
        class_weights: factors by the right class.
        focal_gamma: of the focal loss (Lin et al., "Focal Loss for Dense Object Detection", 2017): the term of each
            class is multiplied by (1 - its probability) ** gamma, as in Keras' CategoricalFocalCrossentropy with alpha
            1. None: cross-entropy.

    Returns:
        The losses. Their plain mean is the loss: weights are not divided by their sum.
    """
    if focal_gamma is None and not smoothing:
        result = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    else:
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
        if focal_gamma is None:
            result = optax.softmax_cross_entropy(logits, targets)
        else:
            log_shares = jax.nn.log_softmax(logits)
            missing = -jnp.expm1(jnp.minimum(log_shares, -1e-7))  # of which the gradient at 0 would be infinite below 1
            result = -(targets * missing**focal_gamma * log_shares).sum(-1)
    return result if class_weights is None else result * class_weights[labels]


def mixed_losses(
    logits: Float32[Array, "b classes"],
    batch: Mixed,
    smoothing: float,
    class_weights: Float32[Array, " classes"] | None,
    focal_gamma: float | None = None,
) -> Float32[Array, " b"]:
    """`losses` against targets that may be shared by two classes.

    Both losses are linear in the target, so it is the loss of each label times its share, as Keras' of the soft target.
    A class weight counts in the share of its class.
    """
    first = losses(logits, batch.labels, smoothing, class_weights, focal_gamma)
    if batch.partners is None or batch.shares is None:
        return first
    second = losses(logits, batch.partners, smoothing, class_weights, focal_gamma)
    return batch.shares * first + (1 - batch.shares) * second


def distillation_losses(
    logits: Float32[Array, "b classes"], teacher: Float32[Array, "b classes"], temperature: float
) -> Float32[Array, " b"]:
    """How far the network is from its teacher: temperature² times the KL divergence KL(teacher, network).

    Both are taken at the temperature. Its square keeps the size of the gradient alike whatever the temperature is
    (Hinton et al., 2015, §2).
    """
    log_targets, log_shares = jax.nn.log_softmax(teacher / temperature), jax.nn.log_softmax(logits / temperature)
    return temperature**2 * (jnp.exp(log_targets) * (log_targets - log_shares)).sum(-1)


def resolve_class_weights(
    setting: Literal["balanced", "effective"] | tuple[float, ...] | None, labels: Int[np.ndarray, " n"], classes: int
) -> Float32[Array, " classes"] | None:
    """`train.class_weights` as an array.

    `balanced` is n / (classes * images of the class), as scikit-learn's. `effective` divides by the effective number
    (1 - beta ** images) / (1 - beta) in its place, scaled to a mean of 1.

    Raises:
        ConfigError: not as many numbers as classes; or a class without images, which cannot be balanced.
    """
    if setting is None:
        return None
    if isinstance(setting, str):
        absent = sorted(set(range(classes)) - set(labels.tolist()))
        if absent:
            raise ConfigError(f"train.class_weights={setting}: class number {absent[0]} has no training image")
        images = np.bincount(labels, minlength=classes)
        if setting == "effective":
            factors = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA**images)
            return jnp.asarray(factors / factors.mean(), jnp.float32)
        return jnp.asarray(len(labels) / (classes * images), jnp.float32)
    if len(setting) != classes:
        raise ConfigError(f"train.class_weights has {len(setting)} numbers, but there are {classes} classes")
    return jnp.asarray(setting, jnp.float32)
