"""What the stages share: rounding, and grey."""

import jax
import jax.numpy as jnp

from cnn_jax.data.augment.pixels import grey


def to_uint8(pixels: jax.Array) -> jax.Array:
    """Rounded to the nearest, within 0 to 255."""
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)


def mean_grey(image: jax.Array) -> jax.Array:
    """float32[]: of uint8[h, w, 3]. Whole numbers are summed, so that no order of the sum makes a difference.

    int32 has room for the sum of 8 million pixels, which is an image of 2,900 x 2,900.
    """
    sums = image.sum((0, 1), dtype=jnp.int32)
    return grey(sums.astype(jnp.float32) / (image.size // 3))[0]
