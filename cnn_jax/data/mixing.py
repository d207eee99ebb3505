"""Mixup and CutMix: the images of a batch mixed with each other, on the device.

Zhang et al., 2018 (arXiv:1710.09412) and Yun et al., 2019 (arXiv:1905.04899). Each image is mixed with its neighbour in
the batch, which is one at random since the order of the images is; each draws its own share.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, Key, Num
from scipy.special import betaincinv

from cnn_jax.config import AugmentConfig

QUANTILES = 4096
"""Equal parts of the Beta distribution; within each it is taken for uniform."""


class Mixed(NamedTuple):
    """A batch whose targets are shared by two labels; without `partners` and `shares`, one as it was."""

    images: Num[Array, "b ..."]
    """Float32 in 0 to 255; as they were where nothing is mixed."""
    labels: Int32[Array, " b"]
    partners: Int32[Array, " b"] | None = None
    """The second labels."""
    shares: Float32[Array, " b"] | None = None
    """The first label's part of the target, 0 to 1; the second has the rest."""

    @property
    def main_labels(self) -> Int32[Array, " b"]:
        """Of each image, the label with the larger share."""
        if self.partners is None or self.shares is None:
            return self.labels
        return jnp.where(self.shares >= 0.5, self.labels, self.partners)


def mix(images: Num[Array, "b ..."], labels: Int32[Array, " b"], key: Key[Array, ""], config: AugmentConfig) -> Mixed:
    """Mix as `config.mixup` and `config.cutmix` say; a pure function of its arguments.

    Where both are on, each image takes one of the two with probability 1/2.

    Args:
        images: uint8[b, h, w, 3]; anything where nothing is mixed.
        labels: their classes.
        key: of the step.
        config: the parameters of the two Beta distributions; 0 is off.
    """
    if not config.mixes:
        return Mixed(images, labels)
    ours = images.astype(jnp.float32)
    theirs = jnp.roll(ours, 1, axis=0)
    count, height, width = images.shape[:3]
    quantile, row, column, kind = jax.random.uniform(key, (4, count, 1, 1, 1))
    blended = jnp.broadcast_to(_beta(quantile, config.mixup), (count, height, width, 1))
    kept = _outside_a_rectangle(1 - _beta(quantile, config.cutmix), row, column, height, width)
    if config.mixup and config.cutmix:
        weights = jnp.where(kind < 0.5, blended, kept)
    else:
        weights = blended if config.mixup else kept
    shares = weights.mean((1, 2, 3))
    return Mixed(weights * ours + (1 - weights) * theirs, labels, jnp.roll(labels, 1), shares)


def _beta(quantile: Float32[Array, "*shape"], alpha: float) -> Float32[Array, "*shape"]:
    """Numbers from Beta(alpha, alpha), at quantiles that are uniform in [0, 1); 1 for an alpha of 0.

    They are read off a table: `jax.random.beta` has loops that take seconds to compile.
    """
    if not alpha:
        return jnp.ones_like(quantile)
    table = jnp.asarray(betaincinv(alpha, alpha, np.linspace(0, 1, QUANTILES + 1)), jnp.float32)
    place = quantile * QUANTILES
    below = jnp.minimum(place.astype(jnp.int32), QUANTILES - 1)
    return table[below] + (place - below) * (table[below + 1] - table[below])


def _outside_a_rectangle(
    area: Float32[Array, "b 1 1 1"],
    row: Float32[Array, "b 1 1 1"],
    column: Float32[Array, "b 1 1 1"],
    height: int,
    width: int,
) -> Float32[Array, "b h w 1"]:
    """0 in a rectangle of its own for each image, 1 elsewhere.

    The rectangle has the proportions of the image, so large a share of its `area`, and its centre at `row` and
    `column`; what lies outside of the image is cut off, as in the paper. All three are in 0 to 1.
    """
    half = jnp.sqrt(area) / 2
    rows = jnp.abs((jnp.arange(height)[:, None, None] + 0.5) / height - row) < half
    columns = jnp.abs((jnp.arange(width)[:, None] + 0.5) / width - column) < half
    return 1.0 - (rows & columns)
