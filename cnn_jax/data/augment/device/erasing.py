"""Random erasing; see `cnn_jax.data.augment.erasing`."""

import jax
import jax.numpy as jnp

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.windows import covers, draw_window


def erase(image: jax.Array, draws: jax.Array, noise: jax.Array | None, config: AugmentConfig) -> jax.Array:
    """uint8[h, w, 3], with a rectangle of `noise`, or of the fill value, as float32[WINDOW_DRAWS + 1] say."""
    settings, (height, width) = config.erasing, image.shape[:2]
    window = draw_window(draws[1:], float(height), float(width), settings.area, settings.ratio, jnp)
    pixels = jnp.uint8(round(config.fill_value)) if noise is None else noise
    erased = covers(window, height, width) & window.fits & (draws[0] < settings.probability)
    return jnp.where(erased[..., None], pixels, image)
