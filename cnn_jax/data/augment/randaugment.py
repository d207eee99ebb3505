"""RandAugment (Cubuk et al., 2020, arXiv:1909.13719): N random operations of strength M.

The fourteen operations are the paper's, their ranges those of AutoAugment (Cubuk et al., 2019, arXiv:1805.09501, table
6). Every operation grows with M, from nothing at 0 to the end of its range at 10, and what has a direction takes either
one. Each takes uint8[h, w, 3], a direction float32[] of 1 or -1, and the configuration, and gives uint8[h, w, 3].
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.chance import Stage, uniforms
from cnn_jax.data.augment.colour import adjust
from cnn_jax.data.augment.geometry import resample
from cnn_jax.data.augment.pixels import to_uint8
from cnn_jax.io.tensorflow import tf

Operation = Callable[[Any, Any, AugmentConfig], Any]
Affine = tuple[Any, Any, Any, Any, Any, Any]

ROTATION, SHEAR, TRANSLATION = math.radians(30), 0.3, 150 / 331
"""Ends of the ranges; the translation is AutoAugment's 150 pixels of the 331 that its images have."""
ENHANCEMENT, POSTERIZED_BITS = 0.9, 4


def rand_augment(image: Any, seed: Any, config: AugmentConfig) -> Any:
    """uint8[h, w, 3] after `config.rand_augment.operations` operations, each drawn from all of them."""
    count = config.rand_augment.operations
    if not count:
        return image
    draws, shape = uniforms(seed, Stage.RAND_AUGMENT, 2 * count), image.shape
    for place in range(count):
        chosen = tf().cast(draws[2 * place] * len(OPERATIONS), tf().int32)
        direction = tf().where(draws[2 * place + 1] < 0.5, -1.0, 1.0)
        branches = [_branch(operation, image, direction, config) for operation in OPERATIONS.values()]
        image = tf().ensure_shape(tf().switch_case(chosen, branches), shape)
    return image


def _branch(operation: Operation, image: Any, direction: Any, config: AugmentConfig) -> Callable[[], Any]:
    return lambda: operation(image, direction, config)


def strength(config: AugmentConfig) -> float:
    """From 0, nothing, to 1, the end of each range."""
    return config.rand_augment.magnitude / 10


def threshold(config: AugmentConfig) -> float:
    """From this grey level on, solarize inverts."""
    return 256 * (1 - strength(config))


def kept_bits(config: AugmentConfig) -> int:
    """The bits that posterize keeps, as a mask: 8 of them, at strength 1 only 4."""
    return 256 - 2 ** round(POSTERIZED_BITS * strength(config))


def factor(direction: Any, config: AugmentConfig) -> Any:
    """Of colour, contrast, brightness and sharpness; 1 changes nothing."""
    return 1 + direction * ENHANCEMENT * strength(config)


def _identity(image: Any, direction: Any, config: AugmentConfig) -> Any:
    return tf().identity(image)


def _auto_contrast(image: Any, direction: Any, config: AugmentConfig) -> Any:
    """Stretch each channel to 0 … 255."""
    pixels = tf().cast(image, tf().float32)
    low, high = tf().reduce_min(pixels, (0, 1)), tf().reduce_max(pixels, (0, 1))
    flat = high <= low
    scale = tf().where(flat, 1.0, 255 / tf().where(flat, 1.0, high - low))
    return to_uint8((pixels - tf().where(flat, 0.0, low)) * scale)


def _equalize(image: Any, direction: Any, config: AugmentConfig) -> Any:
    """Give each channel the histogram of Pillow's ImageOps.equalize, in its whole-number arithmetic."""
    values = tf().cast(image, tf().int32) + 256 * tf().range(3)
    histogram = tf().reshape(tf().math.bincount(tf().reshape(values, [-1]), minlength=768, maxlength=768), (3, 256))
    last = tf().reduce_max(tf().where(histogram > 0, tf().range(256), 0), 1, keepdims=True)
    step = (tf().reduce_sum(histogram, 1, keepdims=True) - tf().gather(histogram, last, batch_dims=1)) // 255
    before = tf().cumsum(histogram, axis=1, exclusive=True)
    table = tf().where(step > 0, (before + step // 2) // tf().maximum(step, 1), tf().range(256))
    return tf().cast(tf().gather(tf().reshape(tf().minimum(table, 255), [-1]), values), tf().uint8)


def _solarize(image: Any, direction: Any, config: AugmentConfig) -> Any:
    """Invert what is at least as bright as a threshold."""
    return tf().where(tf().cast(image, tf().float32) >= threshold(config), 255 - image, image)


def _posterize(image: Any, direction: Any, config: AugmentConfig) -> Any:
    """Keep the highest bits of each value."""
    return tf().bitwise.bitwise_and(image, tf().constant(kept_bits(config), tf().uint8))


def _colour(image: Any, direction: Any, config: AugmentConfig) -> Any:
    return to_uint8(adjust(image, saturation=factor(direction, config)))


def _contrast(image: Any, direction: Any, config: AugmentConfig) -> Any:
    return to_uint8(adjust(image, contrast=factor(direction, config)))


def _brightness(image: Any, direction: Any, config: AugmentConfig) -> Any:
    return to_uint8(adjust(image, brightness=factor(direction, config)))


def _sharpness(image: Any, direction: Any, config: AugmentConfig) -> Any:
    """Move away from, or towards, Pillow's SMOOTH: a 3 x 3 mean in which the middle counts 5; the rim stays."""
    pixels, share = tf().cast(image, tf().float32), factor(direction, config)
    rows = pixels[:-2] + pixels[1:-1] + pixels[2:]
    smooth = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * pixels[1:-1, 1:-1]) / 13
    inner = tf().round(smooth) * (1 - share) + pixels[1:-1, 1:-1] * share
    middle = tf().concat([pixels[1:-1, :1], inner, pixels[1:-1, -1:]], 1)
    return to_uint8(tf().concat([pixels[:1], middle, pixels[-1:]], 0)) if min(image.shape[:2]) > 2 else image


def _rotate(direction: Any, strength: float, height: int, width: int) -> Affine:
    """About the middle of the image."""
    cos, sin = math.cos(ROTATION * strength), direction * math.sin(ROTATION * strength)
    x, y = (width - 1) / 2, (height - 1) / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def _shear_x(direction: Any, strength: float, height: int, width: int) -> Affine:
    """Along the rows; the upper edge stays."""
    slope = direction * SHEAR * strength
    return 1.0, slope, slope / 2, 0.0, 1.0, 0.0


def _shear_y(direction: Any, strength: float, height: int, width: int) -> Affine:
    """Along the columns; the left edge stays."""
    slope = direction * SHEAR * strength
    return 1.0, 0.0, 0.0, slope, 1.0, slope / 2


def _translate_x(direction: Any, strength: float, height: int, width: int) -> Affine:
    return 1.0, 0.0, direction * TRANSLATION * strength * width, 0.0, 1.0, 0.0


def _translate_y(direction: Any, strength: float, height: int, width: int) -> Affine:
    return 1.0, 0.0, 0.0, 0.0, 1.0, direction * TRANSLATION * strength * height


MOVES: dict[str, Callable[[Any, float, int, int], Affine]] = {
    "rotate": _rotate,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
"""The geometric operations: direction, strength (0 to 1), height and width to a, b, c, d, e, f of
`geometry.transform_vector`."""


def _move(name: str, image: Any, direction: Any, config: AugmentConfig) -> Any:
    """Resample bilinearly, with the configured fill."""
    height, width = image.shape[:2]
    transform = tf().stack([*MOVES[name](direction, strength(config), height, width), 0.0, 0.0])
    return resample(image, transform, (height, width), config.fill_mode, config.fill_value)


OPERATIONS: dict[str, Operation] = {
    "identity": _identity,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "rotate": partial(_move, "rotate"),
    "solarize": _solarize,
    "colour": _colour,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": partial(_move, "shear_x"),
    "shear_y": partial(_move, "shear_y"),
    "translate_x": partial(_move, "translate_x"),
    "translate_y": partial(_move, "translate_y"),
}
"""In the order of the paper (section 3.1)."""
