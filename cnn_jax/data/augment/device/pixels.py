"""What the stages share: rounding, and grey."""

import jax.numpy as jnp
from jaxtyping import Array, Float32, UInt8

from cnn_jax.data.augment.pixels import grey


def to_uint8(pixels: Float32[Array, "*shape"]) -> UInt8[Array, "*shape"]:
    """Rounded to the nearest, within 0 to 255."""
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)


def mean_grey(image: UInt8[Array, "h w 3"]) -> Float32[Array, ""]:
    """Of all pixels. Whole numbers are summed, so that no order of the sum makes a difference.

    int32 has room for the sum of 8 million pixels, which is an image of 2,900 x 2,900.
    """
    sums = image.sum((0, 1), dtype=jnp.int32)
    return grey(sums.astype(jnp.float32) / (image.size // 3))[0]
