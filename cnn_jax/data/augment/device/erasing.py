"""Random erasing; see `cnn_jax.data.augment.erasing`."""

import jax.numpy as jnp
from jaxtyping import Array, Float32, UInt8

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.windows import covers, draw_window


def erase(
    image: UInt8[Array, "h w 3"],
    draws: Float32[Array, " draws"],
    noise: UInt8[Array, "h w 3"] | None,
    config: AugmentConfig,
) -> UInt8[Array, "h w 3"]:
    """The image with a rectangle of `noise`, or of the fill value, as `WINDOW_DRAWS` + 1 random numbers say."""
    settings, (height, width) = config.erasing, image.shape[:2]
    window = draw_window(draws[1:], float(height), float(width), settings.area, settings.ratio, jnp)
    pixels = jnp.uint8(round(config.fill_value)) if noise is None else noise
    erased = covers(window, height, width) & window.fits & (draws[0] < settings.probability)
    return jnp.where(erased[..., None], pixels, image)
