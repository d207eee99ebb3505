"""Channel shift and brightness as in Keras, and colour jitter."""

from typing import Any

from cnn_jax.config import AugmentConfig, ColourJitterConfig
from cnn_jax.data.augment.chance import Stage, between, uniforms
from cnn_jax.data.augment.pixels import grey, mean_grey, to_uint8
from cnn_jax.io.tensorflow import tf

KERAS_DRAWS, JITTER_DRAWS = 2, 4
"""Uniform numbers that an image takes: channel shift and brightness; the four of the jitter."""


def shift_channels_and_brighten(image: Any, seed: Any, config: AugmentConfig) -> Any:
    """uint8[h, w, 3], after ImageDataGenerator's channel_shift_range and brightness_range, in its order."""
    brightens = config.brightness not in (None, (1, 1))
    if not (config.channel_shift or brightens):
        return image
    draws, pixels = uniforms(seed, Stage.KERAS_COLOUR, KERAS_DRAWS), tf().cast(image, tf().float32)
    if config.channel_shift:
        added = between(draws[0], -config.channel_shift, config.channel_shift)
        pixels = tf().clip_by_value(pixels + added, tf().reduce_min(pixels), tf().reduce_max(pixels))
    if brightens:
        assert config.brightness is not None
        pixels *= between(draws[1], *config.brightness)
    return to_uint8(pixels)


def jitter(image: Any, seed: Any, config: ColourJitterConfig) -> Any:
    """uint8[h, w, 3], with brightness, contrast, saturation and hue changed, in this order."""
    if not config.is_on:
        return image
    *factors, turn = jitter_parameters(uniforms(seed, Stage.JITTER, JITTER_DRAWS), config)
    pixels = adjust(image, *factors)
    if config.hue:
        pixels = tf().raw_ops.AdjustHue(images=tf().clip_by_value(pixels, 0, 255), delta=turn)
    return to_uint8(pixels)


def jitter_parameters(draws: Any, config: ColourJitterConfig) -> tuple[Any, Any, Any, Any]:
    """Of float32[JITTER_DRAWS]: the factors of `adjust`, None where one is off, and the part of the circle of hues."""

    def factor(draw: Any, strength: float) -> Any:
        return between(draw, max(0.0, 1 - strength), 1 + strength) if strength else None

    return (
        factor(draws[0], config.brightness),
        factor(draws[1], config.contrast),
        factor(draws[2], config.saturation),
        between(draws[3], -config.hue, config.hue),
    )


def adjust(image: Any, brightness: Any = None, contrast: Any = None, saturation: Any = None) -> Any:
    """uint8[h, w, 3] to float32[h, w, 3], changed by factors (float32[], 1: as it is; None: the same, at no cost).

    Brightness moves away from black, contrast from the mean grey of the image, saturation from the grey of each pixel,
    as Pillow's ImageEnhance. The three are linear, so they are one pass over the pixels, without clipping in between.
    """
    mean = None if contrast is None else mean_grey(image)
    return adjusted(tf().cast(image, tf().float32), mean, brightness, contrast, saturation)


def adjusted(pixels: Any, mean: Any, brightness: Any, contrast: Any, saturation: Any) -> Any:
    """`adjust` of float32[h, w, 3], TensorFlow's or JAX'; `mean` is the mean grey, which contrast asks for."""
    scale, offset = 1.0, 0.0
    if brightness is not None:
        scale = brightness
    if contrast is not None:
        offset = scale * (1 - contrast) * mean
        scale = scale * contrast
    if saturation is None:
        return scale * pixels + offset
    return (scale * saturation) * pixels + (scale * (1 - saturation)) * grey(pixels) + offset
