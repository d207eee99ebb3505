"""Channel shift and brightness as in Keras, and colour jitter."""

from typing import Any

from cnn_jax.config import AugmentConfig, ColourJitterConfig
from cnn_jax.data.augment.chance import Stage, between, uniforms
from cnn_jax.data.augment.pixels import grey, mean_grey, to_uint8
from cnn_jax.data.tensorflow import tf


def shift_channels_and_brighten(image: Any, seed: Any, config: AugmentConfig) -> Any:
    """uint8[h, w, 3], after ImageDataGenerator's channel_shift_range and brightness_range, in its order."""
    brightens = config.brightness not in (None, (1, 1))
    if not (config.channel_shift or brightens):
        return image
    draws, pixels = uniforms(seed, Stage.KERAS_COLOUR, 2), tf().cast(image, tf().float32)
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
    draws = uniforms(seed, Stage.JITTER, 4)

    def factor(draw: Any, strength: float) -> Any:
        return between(draw, max(0.0, 1 - strength), 1 + strength) if strength else None

    pixels = adjust(
        image,
        factor(draws[0], config.brightness),
        factor(draws[1], config.contrast),
        factor(draws[2], config.saturation),
    )
    if config.hue:
        turn = between(draws[3], -config.hue, config.hue)
        pixels = tf().raw_ops.AdjustHue(images=tf().clip_by_value(pixels, 0, 255), delta=turn)
    return to_uint8(pixels)


def adjust(image: Any, brightness: Any = None, contrast: Any = None, saturation: Any = None) -> Any:
    """uint8[h, w, 3] to float32[h, w, 3], changed by factors (float32[], 1: as it is; None: the same, at no cost).

    Brightness moves away from black, contrast from the mean grey of the image, saturation from the grey of each pixel,
    as Pillow's ImageEnhance. The three are linear, so they are one pass over the pixels, without clipping in between.
    """
    pixels, scale, offset = tf().cast(image, tf().float32), 1.0, 0.0
    if brightness is not None:
        scale = brightness
    if contrast is not None:
        offset = scale * (1 - contrast) * mean_grey(image)
        scale = scale * contrast
    if saturation is None:
        return scale * pixels + offset
    return (scale * saturation) * pixels + (scale * (1 - saturation)) * grey(pixels) + offset
