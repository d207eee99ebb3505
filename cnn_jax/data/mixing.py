"""Mixup and CutMix: the images of a batch mixed with each other, on the device.

Zhang et al., 2018 (arXiv:1710.09412) and Yun et al., 2019 (arXiv:1905.04899). Each image is mixed with its neighbour in
the batch, which is one at random since the order of the images is; each draws its own share.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cnn_jax.config import AugmentConfig


class Mixed(NamedTuple):
    """A batch whose targets are shared by two labels; without `partners` and `shares`, one as it was."""

    images: jax.Array
    """float32[b, h, w, 3] in 0 to 255; as they were where nothing is mixed."""
    labels: jax.Array
    """int32[b]"""
    partners: jax.Array | None = None
    """int32[b]: the second labels."""
    shares: jax.Array | None = None
    """float32[b]: the first label's part of the target, 0 to 1; the second has the rest."""

    @property
    def main_labels(self) -> jax.Array:
        """int32[b]: of each image, the label with the larger share."""
        if self.partners is None or self.shares is None:
            return self.labels
        return jnp.where(self.shares >= 0.5, self.labels, self.partners)


def mix(images: jax.Array, labels: jax.Array, key: jax.Array, config: AugmentConfig) -> Mixed:
    """Mix as `config.mixup` and `config.cutmix` say; a pure function of its arguments.

    Where both are on, each image takes one of the two with probability 1/2.

    Args:
        images: uint8[b, h, w, 3].
        labels: int32[b].
        key: of the step.
        config: the parameters of the two Beta distributions; 0 is off.
    """
    if not config.mixes:
        return Mixed(images, labels)
    ours = images.astype(jnp.float32)
    theirs = jnp.roll(ours, 1, axis=0)
    for_kind, for_blend, for_cut = jax.random.split(key, 3)
    count, height, width = images.shape[:3]
    everywhere = jnp.ones((count, height, width, 1), jnp.float32)
    if config.mixup:
        blended = jax.random.beta(for_blend, config.mixup, config.mixup, (count,))
        weights = everywhere * blended[:, None, None, None]
    if config.cutmix:
        kept = _outside_a_rectangle(for_cut, config.cutmix, count, height, width)
        if config.mixup:
            cuts = jax.random.bernoulli(for_kind, shape=(count, 1, 1, 1))
            weights = jnp.where(cuts, kept, weights)
        else:
            weights = kept
    shares = weights.mean((1, 2, 3))
    return Mixed(weights * ours + (1 - weights) * theirs, labels, jnp.roll(labels, 1), shares)


def _outside_a_rectangle(key: jax.Array, alpha: float, count: int, height: int, width: int) -> jax.Array:
    """float32[count, height, width, 1]: 0 in a rectangle of its own for each image, 1 elsewhere.

    The rectangle has the proportions of the image and a share 1 - Beta(alpha, alpha) of its area; its centre is
    anywhere in the image, and what lies outside is cut off, as in the paper.
    """
    for_share, for_centre = jax.random.split(key)
    side = jnp.sqrt(1 - jax.random.beta(for_share, alpha, alpha, (count, 1)))
    centre = jax.random.uniform(for_centre, (2, count, 1))

    def covered(extent: int, middle: jax.Array) -> jax.Array:
        """bool[count, extent]: the pixels whose centre lies within."""
        return jnp.abs((jnp.arange(extent) + 0.5) / extent - middle) < side / 2

    rows, columns = covered(height, centre[0]), covered(width, centre[1])
    return 1.0 - (rows[:, :, None] & columns[:, None, :])[..., None]
