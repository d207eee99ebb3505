"""Channel shift and brightness as in Keras, and colour jitter; see `cnn_jax.data.augment.colour`."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float32, UInt8

from cnn_jax.config import AugmentConfig, ColourJitterConfig
from cnn_jax.data.augment.chance import between
from cnn_jax.data.augment.colour import adjusted, jitter_parameters
from cnn_jax.data.augment.device.pixels import mean_grey, to_uint8


def shift_channels_and_brighten(
    image: UInt8[Array, "h w 3"], draws: Float32[Array, " draws"], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    """The image after channel shift and brightness by `KERAS_DRAWS` random numbers."""
    pixels = image.astype(jnp.float32)
    if config.channel_shift:
        added = between(draws[0], -config.channel_shift, config.channel_shift)
        pixels = jnp.clip(pixels + added, image.min().astype(jnp.float32), image.max().astype(jnp.float32))
    if config.brightness not in (None, (1, 1)):
        assert config.brightness is not None
        pixels *= between(draws[1], *config.brightness)
    return to_uint8(pixels)


def jitter(
    image: UInt8[Array, "h w 3"], draws: Float32[Array, " draws"], config: ColourJitterConfig
) -> UInt8[Array, "h w 3"]:
    """The image with brightness, contrast, saturation and hue changed by `JITTER_DRAWS` random numbers."""
    *factors, turn = jitter_parameters(draws, config)
    pixels = adjust(image, *factors)
    if config.hue:
        pixels = turn_hue(jnp.clip(pixels, 0, 255), turn)
    return to_uint8(pixels)


def adjust(
    image: UInt8[Array, "h w 3"], brightness: Any = None, contrast: Any = None, saturation: Any = None
) -> Float32[Array, "h w 3"]:
    """The image, changed by factors (None: as it is)."""
    mean = None if contrast is None else mean_grey(image)
    return adjusted(image.astype(jnp.float32), mean, brightness, contrast, saturation)


def turn_hue(pixels: Float32[Array, "h w 3"], turn: Float32[Array, ""]) -> Float32[Array, "h w 3"]:
    """Pixels of 0 to 255 with the hue of HSV moved by a part of the circle; value and chroma stay."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    some = jnp.where(chroma > 0, chroma, 1.0)
    # Which channel is the greatest is asked of the channels. `value == red` can fail for all three: XLA computes a sum
    # or product anew in each fused operation, and not always with the same last bit.
    hue = jnp.where(  # in sixths of the circle, from red on
        (red >= green) & (red >= blue),
        (green - blue) / some,
        jnp.where(green >= blue, 2 + (blue - red) / some, 4 + (red - green) / some),
    )

    def channel(start: int) -> Float32[Array, "h w"]:
        place = jnp.mod(start + hue + 6 * turn, 6)
        return value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], -1)
