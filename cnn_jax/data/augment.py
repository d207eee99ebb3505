"""Random geometric augmentation: flips, rotation, shifts, shear and zoom as one projective resample an image."""

import math
from typing import Any

from cnn_jax.config import AugmentConfig
from cnn_jax.data.tensorflow import tf

DRAWS = 7
"""Uniform numbers that one image takes."""


def augment(image: Any, seed: Any, config: AugmentConfig) -> Any:
    """Change uint8[s, s, 3] at random; the result is a pure function of the image, `seed` int64[2] and `config`."""
    if not config.is_geometric:
        return image
    size = image.shape[0]
    transform = transform_vector(tf().random.stateless_uniform((DRAWS,), seed), config, size)
    moved = tf().raw_ops.ImageProjectiveTransformV3(
        images=tf().cast(image, tf().float32)[None],
        transforms=transform[None],
        output_shape=(size, size),
        interpolation="BILINEAR",
        fill_mode=config.fill_mode.upper(),
        fill_value=0.0,
    )[0]
    return tf().cast(tf().clip_by_value(tf().round(moved), 0, 255), tf().uint8)


def transform_vector(draws: Any, config: AugmentConfig, size: int) -> Any:
    """The map from output to input pixels that seven uniforms in [0, 1) choose, as ImageProjectiveTransformV3 takes it.

    The parameters have the ranges of Keras' ImageDataGenerator and compose in its order around the centre of the
    image: rotation [[cos, -sin], [sin, cos]], shift, shear [[1, -sin], [0, cos]], zoom, and last the flip. The product
    of the linear parts has a short closed form, which is what is computed here.

    Returns:
        float32[8]: a, b, c, d, e, f, 0, 0, where output (x, y) takes the input at (a x + b y + c, d x + e y + f).
    """
    signed = 2 * draws - 1
    angle = signed[0] * math.radians(config.rotation)
    tilt = angle + signed[1] * math.radians(config.shear)
    right, down = signed[2] * config.width_shift * size, signed[3] * config.height_shift * size
    wide, high = 1 + signed[4] * config.zoom, 1 + signed[5] * config.zoom
    if config.horizontal_flip:
        wide *= tf().where(draws[6] < 0.5, -1.0, 1.0)
    cos, sin = tf().cos(angle), tf().sin(angle)
    a, b = cos * wide, -tf().sin(tilt) * high
    d, e = sin * wide, tf().cos(tilt) * high
    centre = (size - 1) / 2
    c = cos * right - sin * down + centre - (a + b) * centre
    f = sin * right + cos * down + centre - (d + e) * centre
    return tf().stack([a, b, c, d, e, f, 0.0, 0.0])
