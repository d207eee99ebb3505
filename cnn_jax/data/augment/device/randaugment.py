"""RandAugment; see `cnn_jax.data.augment.randaugment`.

A program for a whole batch computes every operation for every image and takes the one that was drawn. The geometric
ones are one resample, with a transform that leaves the image as it is where another operation was drawn.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, UInt8

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.device.colour import adjust
from cnn_jax.data.augment.device.geometry import resample
from cnn_jax.data.augment.device.pixels import to_uint8
from cnn_jax.data.augment.randaugment import MOVES, OPERATIONS, factor, kept_bits, strength, threshold
from cnn_jax.runtime.compiling import materialized

NAMES = tuple(OPERATIONS)


def rand_augment(
    image: UInt8[Array, "h w 3"], draws: Float32[Array, " draws"], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    """The image after half as many operations as there are random numbers: each has two, for it and its direction."""
    for place in range(config.rand_augment.operations):
        chosen = (draws[2 * place] * len(NAMES)).astype(jnp.int32)
        direction = jnp.where(draws[2 * place + 1] < 0.5, -1.0, 1.0)
        image = materialized(operate(image, chosen, direction, config))
    return image


def operate(
    image: UInt8[Array, "h w 3"], chosen: Int32[Array, ""], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    """The image after the operation `NAMES[chosen]`."""
    height, width = image.shape[:2]
    transforms = [
        MOVES[name](direction, strength(config), height, width) if name in MOVES else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        for name in NAMES
    ]
    transform = jnp.stack([jnp.stack(one) for one in transforms])[chosen]
    moved = resample(image, transform, config.fill_mode, config.fill_value)
    branches = [COLOURS.get(name, _as_it_is) for name in NAMES]
    return jax.lax.switch(
        chosen, [lambda pixels, branch=branch: branch(pixels, direction, config) for branch in branches], moved
    )


def _as_it_is(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    return image


def _auto_contrast(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    low, high = image.min((0, 1)).astype(jnp.float32), image.max((0, 1)).astype(jnp.float32)
    flat = high <= low
    scale = jnp.where(flat, 1.0, 255 / jnp.where(flat, 1.0, high - low))
    return to_uint8((image.astype(jnp.float32) - jnp.where(flat, 0.0, low)) * scale)


def _equalize(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    values = image.astype(jnp.int32) + 256 * jnp.arange(3)
    histogram = jnp.bincount(values.reshape(-1), length=768).reshape(3, 256)
    last = jnp.max(jnp.where(histogram > 0, jnp.arange(256), 0), 1, keepdims=True)
    step = (histogram.sum(1, keepdims=True) - jnp.take_along_axis(histogram, last, 1)) // 255
    before = jnp.cumsum(histogram, 1) - histogram
    table = jnp.where(step > 0, (before + step // 2) // jnp.maximum(step, 1), jnp.arange(256))
    return jnp.minimum(table, 255).astype(jnp.uint8).reshape(-1).at[values].get(mode="promise_in_bounds")


def _solarize(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    return jnp.where(image.astype(jnp.float32) >= threshold(config), 255 - image, image)


def _posterize(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    return image & jnp.uint8(kept_bits(config))


def _colour(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    return to_uint8(adjust(image, saturation=factor(direction, config)))


def _contrast(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    return to_uint8(adjust(image, contrast=factor(direction, config)))


def _brightness(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    return to_uint8(adjust(image, brightness=factor(direction, config)))


def _sharpness(
    image: UInt8[Array, "h w 3"], direction: Float32[Array, ""], config: AugmentConfig
) -> UInt8[Array, "h w 3"]:
    if min(image.shape[:2]) <= 2:
        return image
    pixels, share = image.astype(jnp.float32), factor(direction, config)
    middle, rows = pixels[1:-1, 1:-1], pixels[:-2] + pixels[1:-1] + pixels[2:]
    smooth = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * middle) / 13
    return image.at[1:-1, 1:-1].set(to_uint8(jnp.round(smooth) * (1 - share) + middle * share))


Operation = Callable[[UInt8[Array, "h w 3"], Float32[Array, ""], AugmentConfig], UInt8[Array, "h w 3"]]

COLOURS: dict[str, Operation] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "colour": _colour,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
}
"""All operations but the identity and the `MOVES`; each does what the host's of its name does."""
