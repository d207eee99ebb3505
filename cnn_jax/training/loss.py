"""The training loss: cross-entropy with smoothed targets and weighted classes."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.data.mixing import Mixed
from cnn_jax.errors import ConfigError


def losses(logits: jax.Array, labels: jax.Array, smoothing: float, class_weights: jax.Array | None) -> jax.Array:
    """Cross-entropy of each example in nats, as Keras' loss with `label_smoothing` and `fit` with `class_weight`.

    Args:
        logits: float32[b, classes].
        labels: int32[b].
        smoothing: share of the target that is spread over all classes, the right one included.
        class_weights: float32[classes], factors by the right class.

    Returns:
        float32[b]. Their plain mean is the loss: weights are not divided by their sum.
    """
    if smoothing:
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
        result = optax.softmax_cross_entropy(logits, targets)
    else:
        result = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return result if class_weights is None else result * class_weights[labels]


def mixed_losses(logits: jax.Array, batch: Mixed, smoothing: float, class_weights: jax.Array | None) -> jax.Array:
    """`losses` against targets that may be shared by two classes; float32[b].

    Cross-entropy is linear in the target, so it is the loss of each label times its share: Keras'
    CategoricalCrossentropy of the soft target. A class weight counts in the share of its class.
    """
    first = losses(logits, batch.labels, smoothing, class_weights)
    if batch.partners is None or batch.shares is None:
        return first
    second = losses(logits, batch.partners, smoothing, class_weights)
    return batch.shares * first + (1 - batch.shares) * second


def resolve_class_weights(
    setting: Literal["balanced"] | tuple[float, ...] | None, labels: np.ndarray, classes: int
) -> jax.Array | None:
    """`train.class_weights` as float32[classes]; `balanced` is n / (classes * images of the class), as scikit-learn's.

    Raises:
        ConfigError: not as many numbers as classes; or a class without images, which cannot be balanced.
    """
    if setting is None:
        return None
    if setting == "balanced":
        absent = sorted(set(range(classes)) - set(labels.tolist()))
        if absent:
            raise ConfigError(f"train.class_weights=balanced: class number {absent[0]} has no training image")
        return jnp.asarray(len(labels) / (classes * np.bincount(labels, minlength=classes)), jnp.float32)
    if len(setting) != classes:
        raise ConfigError(f"train.class_weights has {len(setting)} numbers, but there are {classes} classes")
    return jnp.asarray(setting, jnp.float32)
