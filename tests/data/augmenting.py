"""What the tests of the augmentation share."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras.src.legacy.preprocessing.image import apply_affine_transform
from scipy import stats

from cnn_jax.config import AugmentConfig, ColourJitterConfig, ErasingConfig, RandAugmentConfig, Shift
from cnn_jax.data.augment import augment
from cnn_jax.data.augment.chance import Stage, uniforms

MANY = 400
LEVEL = 1e-3  # of the tests of distributions; their seeds are fixed
SCIPY_NAMESPACE = "ignore:Please (use|import) .*:DeprecationWarning"

ALONE = {
    "horizontal_flip": AugmentConfig(horizontal_flip=True),
    "vertical_flip": AugmentConfig(vertical_flip=True),
    "rotation": AugmentConfig(rotation=40),
    "width_shift": AugmentConfig(width_shift=0.4),
    "height_shift": AugmentConfig(height_shift=(1.0, 3.0, 5.0)),
    "shear": AugmentConfig(shear=40),
    "zoom": AugmentConfig(zoom=(0.5, 1.2)),
    "channel_shift": AugmentConfig(channel_shift=60),
    "brightness": AugmentConfig(brightness=(0.5, 1.5)),
    "crop": AugmentConfig(crop_area=(0.1, 0.9)),
    "jitter": AugmentConfig(jitter=ColourJitterConfig(0.4, 0.4, 0.4, 0.1)),
    "rand_augment": AugmentConfig(rand_augment=RandAugmentConfig(operations=1)),
    "erasing": AugmentConfig(erasing=ErasingConfig(probability=0.7)),
}
"""Each operation by itself."""

EVERYTHING = AugmentConfig(
    horizontal_flip=True,
    vertical_flip=True,
    rotation=20,
    width_shift=0.1,
    height_shift=(1.0, 2.0),
    shear=10,
    zoom=0.2,
    fill_mode="constant",
    fill_value=30,
    channel_shift=20,
    brightness=(0.8, 1.2),
    crop_area=(0.2, 1.0),
    jitter=ColourJitterConfig(0.2, 0.2, 0.2, 0.05),
    rand_augment=RandAugmentConfig(operations=1, magnitude=6),
    erasing=ErasingConfig(probability=0.5),
)


def photograph(height: int = 21, width: int | None = None, seed: int = 0) -> np.ndarray:
    """Random pixels: uint8[height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width or height, 3), dtype=np.uint8)


def changed(image: np.ndarray, seed: tuple[int, int], config: AugmentConfig, *shape: int) -> np.ndarray:
    return augment(tf.constant(image), tf.constant(seed, tf.int64), config, shape).numpy()


def many_changed(image: np.ndarray, config: AugmentConfig, count: int = MANY) -> np.ndarray:
    """The image, augmented with many seeds: uint8[count, h, w, 3]."""
    return _over_seeds(lambda seed: augment(tf.constant(image), seed, config, image.shape[:2]), count, 9, tf.uint8)


def drawn(seed: tuple[int, int], stage: Stage, count: int) -> np.ndarray:
    """The uniform numbers of a stage: float64[count]."""
    return uniforms(tf.constant(seed, tf.int64), stage, count).numpy().astype(np.float64)


@functools.cache
def many_drawn(stage: Stage, count: int, key: int = 5) -> np.ndarray:
    """The same of many seeds: float32[MANY, count]."""
    return _over_seeds(lambda seed: uniforms(seed, stage, count), MANY, key, tf.float32)


def _over_seeds(function: Callable[[Any], Any], count: int, key: int, dtype: Any) -> np.ndarray:
    seeds = tf.stack([tf.fill([count], tf.constant(key, tf.int64)), tf.range(count, dtype=tf.int64)], 1)
    return tf.function(lambda: tf.map_fn(function, seeds, fn_output_signature=dtype))().numpy()


def pixels(draw: float, sizes: Shift, extent: int) -> float:
    """A shift, as a uniform number chooses it."""
    signed = 2 * draw - 1
    if isinstance(sizes, tuple):
        size = math.copysign(sizes[int(abs(signed) * len(sizes))], signed)
        return size * extent if max(sizes) < 1 else size
    return signed * sizes * (extent if sizes < 1 else 1)


def parameters(draws: np.ndarray, config: AugmentConfig, height: int, width: int) -> dict[str, Any]:
    """What the uniforms stand for, named as in `ImageDataGenerator.get_random_transform`: tx is of the height."""
    low, high = config.zoom if isinstance(config.zoom, tuple) else (1 - config.zoom, 1 + config.zoom)
    return {
        "theta": (2 * draws[0] - 1) * config.rotation,
        "ty": pixels(draws[1], config.width_shift, width),
        "tx": pixels(draws[2], config.height_shift, height),
        "shear": (2 * draws[3] - 1) * config.shear,
        "zx": low + draws[4] * (high - low),
        "zy": low + draws[5] * (high - low),
        "flip_horizontal": config.horizontal_flip and draws[6] < 0.5,
        "flip_vertical": config.vertical_flip and draws[7] < 0.5,
    }


def corrected(keras: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """Parameters with which Keras does what its names promise: shifts along their own axes, about the true centre.

    Keras takes (height, width) / 2 for the centre in (x, y); a shift inside of the rotation makes up for the
    difference.
    """
    theta, shear = np.deg2rad(keras["theta"]), np.deg2rad(keras["shear"])
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    skew = np.array([[1, -math.sin(shear)], [0, math.cos(shear)]])
    linear = turn @ skew @ np.diag([keras["zx"], keras["zy"]])
    beside = np.array([width - height, height - width]) / 2
    tx, ty = np.array([keras["ty"], keras["tx"]]) + np.linalg.solve(turn, beside - linear @ beside)
    return {**keras, "tx": tx, "ty": ty}


def by_keras(image: np.ndarray, draws: np.ndarray, config: AugmentConfig) -> np.ndarray:
    """What Keras makes of the image with the parameters that the uniforms stand for."""
    chosen = parameters(draws, config, *image.shape[:2])
    if config.compatibility == "none":
        chosen = corrected(chosen, *image.shape[:2])
    flips = chosen.pop("flip_horizontal"), chosen.pop("flip_vertical")
    moved = apply_affine_transform(
        image.astype(np.float64),
        **chosen,
        row_axis=0,
        col_axis=1,
        channel_axis=2,
        fill_mode=config.fill_mode,
        cval=config.fill_value,
    )
    moved = moved[:, ::-1] if flips[0] else moved
    return moved[::-1] if flips[1] else moved


def assert_uniform(values: Any, low: float, high: float, slack: float = 1e-4) -> None:
    """The values are spread evenly from `low` to `high`, and some are near either end."""
    assert_follows(values, stats.uniform(low, high - low).cdf)
    assert low - slack <= np.min(values) <= low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) <= np.max(values) <= high + slack


def assert_follows(values: Any, cdf: Callable[[Any], Any]) -> None:
    assert stats.kstest(values, cdf).pvalue > LEVEL


def assert_share(hits: Any, probability: float) -> None:
    """So many of bool[n] are true as chance leaves likely."""
    assert stats.binomtest(int(np.sum(hits)), len(hits), probability).pvalue > LEVEL
