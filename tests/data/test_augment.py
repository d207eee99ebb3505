"""Augmentation against Keras' own code, the ranges of each transform, and its dependence on the seed alone."""

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.legacy.preprocessing.image import apply_affine_transform
from scipy import stats

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment import DRAWS, augment, transform_vector

SIZE = 21
MANY = 400
SCIPY_NAMESPACE = "ignore:Please (use|import) .*:DeprecationWarning"
LEVEL = 1e-3  # of the tests of distributions; their seeds are fixed


def photograph(size: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def changed(image: np.ndarray, seed: tuple[int, int], config: AugmentConfig) -> np.ndarray:
    return augment(tf.constant(image), tf.constant(seed, tf.int64), config).numpy()


def uniforms(seed: tuple[int, int]) -> np.ndarray:
    return tf.random.stateless_uniform((DRAWS,), tf.constant(seed, tf.int64)).numpy().astype(np.float64)


def keras_transform(image: np.ndarray, draws: np.ndarray, config: AugmentConfig) -> np.ndarray:
    """What Keras makes of the image with the parameters that the uniforms stand for; its x is along columns."""
    signed = 2 * draws - 1
    moved = apply_affine_transform(
        image.astype(np.float64),
        theta=signed[0] * config.rotation,
        shear=signed[1] * config.shear,
        tx=signed[2] * config.width_shift * len(image),
        ty=signed[3] * config.height_shift * len(image),
        zx=1 + signed[4] * config.zoom,
        zy=1 + signed[5] * config.zoom,
        row_axis=0,
        col_axis=1,
        channel_axis=2,
        fill_mode=config.fill_mode,
        order=1,
    )
    return moved[:, ::-1] if config.horizontal_flip and draws[6] < 0.5 else moved


def vectors(config: AugmentConfig, size: int = SIZE) -> np.ndarray:
    """float64[MANY, 6]: the transforms of many seeds."""
    draws = [tf.random.stateless_uniform((DRAWS,), tf.constant((5, i), tf.int64)) for i in range(MANY)]
    found = np.stack([transform_vector(d, config, size).numpy() for d in draws]).astype(np.float64)
    assert (found[:, 6:] == 0).all()
    return found[:, :6]


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    assert values.min() >= low - 1e-4
    assert values.max() <= high + 1e-4
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > LEVEL


def fixed_points(found: np.ndarray, centre: float) -> np.ndarray:
    """Where the transforms take the centre of the image."""
    return np.stack(
        [(found[:, 0] + found[:, 1]) * centre + found[:, 2], (found[:, 3] + found[:, 4]) * centre + found[:, 5]]
    )


SETTINGS = st.builds(
    AugmentConfig,
    horizontal_flip=st.booleans(),
    rotation=st.sampled_from([0.0, 10.0, 45.0, 180.0]),
    width_shift=st.sampled_from([0.0, 0.1, 0.5]),
    height_shift=st.sampled_from([0.0, 0.2, 0.4]),
    shear=st.sampled_from([0.0, 15.0, 60.0]),
    zoom=st.sampled_from([0.0, 0.3, 0.8]),
)


@pytest.mark.filterwarnings(SCIPY_NAMESPACE)
@settings(max_examples=150, deadline=None)
@given(SETTINGS, st.integers(0, 2**62), st.integers(0, 10**6), st.sampled_from([1, 2, 8, 21, 64]))
def test_an_image_is_changed_as_keras_changes_it(config: AugmentConfig, key: int, position: int, size: int) -> None:
    image = photograph(size, seed=position)
    ours = changed(image, (key, position), config)
    assert ours.dtype == np.uint8
    assert ours.shape == image.shape
    assert np.abs(ours - keras_transform(image, uniforms((key, position)), config)).max() <= 1


@pytest.mark.filterwarnings(SCIPY_NAMESPACE)
@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(rotation=40),
        AugmentConfig(shear=40),
        AugmentConfig(width_shift=0.4),
        AugmentConfig(height_shift=0.4),
        AugmentConfig(zoom=0.5),
        AugmentConfig(horizontal_flip=True),
        AugmentConfig(rotation=40, fill_mode="reflect"),
    ],
    ids=["rotation", "shear", "width_shift", "height_shift", "zoom", "flip", "reflect"],
)
def test_each_transform_alone_is_keras(config: AugmentConfig) -> None:
    image = photograph(32)
    for position in range(20):
        expected = keras_transform(image, uniforms((1, position)), config)
        assert np.abs(changed(image, (1, position), config) - expected).max() <= 1


@settings(max_examples=100, deadline=None)
@given(SETTINGS, st.integers(0, 10**6), st.integers(1, 500))
def test_the_transforms_compose_in_the_order_of_keras(config: AugmentConfig, position: int, size: int) -> None:
    draws = uniforms((7, position))
    signed = 2 * draws - 1
    theta, shear = np.deg2rad(signed[0] * config.rotation), np.deg2rad(signed[1] * config.shear)
    shift = (signed[2] * config.width_shift * size, signed[3] * config.height_shift * size)
    flips = config.horizontal_flip and draws[6] < 0.5

    def affine(linear: Any, offset: Any = (0.0, 0.0)) -> np.ndarray:
        return np.block([[np.asarray(linear, float), np.asarray(offset)[:, None]], [np.zeros((1, 2)), np.ones((1, 1))]])

    centre = np.full(2, (size - 1) / 2)
    expected = (
        affine(np.eye(2), centre)
        @ affine([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
        @ affine(np.eye(2), shift)
        @ affine([[1, -math.sin(shear)], [0, math.cos(shear)]])
        @ affine(np.diag([1 + signed[4] * config.zoom, 1 + signed[5] * config.zoom]))
        @ affine(np.diag([-1.0 if flips else 1.0, 1.0]))
        @ affine(np.eye(2), -centre)
    )
    ours = transform_vector(tf.constant(draws, tf.float32), config, size).numpy()
    np.testing.assert_allclose(ours, [*expected[:2].ravel(), 0, 0], rtol=1e-4, atol=1e-5 * (10 + size))


def test_rotation_alone_is_uniform_either_way_around_the_centre() -> None:
    a, b, _, d, e, _ = vectors(AugmentConfig(rotation=30)).T
    assert_uniform(np.rad2deg(np.arctan2(d, a)), -30, 30)
    np.testing.assert_allclose([a, b], [e, -d], atol=1e-6)
    np.testing.assert_allclose(a * e - b * d, 1, atol=1e-6)
    np.testing.assert_allclose(fixed_points(vectors(AugmentConfig(rotation=30)), 10), 10, atol=1e-4)


def test_shear_alone_is_uniform_either_way_around_the_centre() -> None:
    found = vectors(AugmentConfig(shear=20))
    a, b, _, d, e, _ = found.T
    assert_uniform(np.rad2deg(np.arctan2(-b, e)), -20, 20)
    assert (a == 1).all()
    assert (d == 0).all()
    np.testing.assert_allclose(np.hypot(b, e), 1, atol=1e-6)
    np.testing.assert_allclose(fixed_points(found, 10), 10, atol=1e-4)


def test_shifts_alone_are_uniform_fractions_of_the_size() -> None:
    found = vectors(AugmentConfig(width_shift=0.2), size=100)
    assert_uniform(found[:, 2], -20, 20)
    np.testing.assert_allclose(found[:, [0, 1, 3, 4, 5]], [[1, 0, 0, 1, 0]] * MANY, atol=1e-5)
    found = vectors(AugmentConfig(height_shift=0.1), size=100)
    assert_uniform(found[:, 5], -10, 10)
    np.testing.assert_allclose(found[:, [0, 1, 2, 3, 4]], [[1, 0, 0, 0, 1]] * MANY, atol=1e-5)


def test_zoom_alone_is_uniform_and_independent_for_rows_and_columns() -> None:
    found = vectors(AugmentConfig(zoom=0.25))
    a, b, _, d, e, _ = found.T
    assert_uniform(a, 0.75, 1.25)
    assert_uniform(e, 0.75, 1.25)
    assert stats.pearsonr(a, e).pvalue > LEVEL
    assert (b == 0).all()
    assert (d == 0).all()
    np.testing.assert_allclose(fixed_points(found, 10), 10, atol=1e-4)


def test_flip_alone_mirrors_half_of_the_images_and_leaves_the_others() -> None:
    found = vectors(AugmentConfig(horizontal_flip=True))
    flipped = found[:, 0] < 0
    assert stats.binomtest(int(flipped.sum()), MANY, 0.5).pvalue > LEVEL
    np.testing.assert_array_equal(found[flipped], [[-1, 0, SIZE - 1, 0, 1, 0]] * flipped.sum())
    np.testing.assert_array_equal(found[~flipped], [[1, 0, 0, 0, 1, 0]] * (~flipped).sum())


def test_the_parameters_of_an_image_are_drawn_independently() -> None:
    found = vectors(AugmentConfig(width_shift=0.2, height_shift=0.2, horizontal_flip=True), size=100)
    flipped = found[:, 0] < 0
    right = found[:, 2] - np.where(flipped, 99, 0)
    down = found[:, 5]
    assert stats.pearsonr(right, down).pvalue > LEVEL
    assert stats.pearsonr(right, flipped).pvalue > LEVEL
    assert stats.pearsonr(down, flipped).pvalue > LEVEL


@pytest.mark.parametrize("size", [1, 2, 21, 224])
def test_a_flipped_image_is_exactly_the_mirrored_one(size: int) -> None:
    image, config = photograph(size), AugmentConfig(horizontal_flip=True)
    for position in range(12):
        flips = uniforms((2, position))[6] < 0.5
        np.testing.assert_array_equal(changed(image, (2, position), config), image[:, ::-1] if flips else image)


def test_the_result_depends_on_the_image_the_seed_and_the_configuration_alone() -> None:
    image, config = photograph(), AugmentConfig(rotation=30, zoom=0.2, horizontal_flip=True)
    first = [changed(image, (4, position), config) for position in range(5)]
    tf.random.set_seed(1)
    np.random.default_rng().random()
    in_graph = tf.function(lambda image, seed: augment(image, seed, config))
    for position in reversed(range(5)):
        np.testing.assert_array_equal(changed(image, (4, position), config), first[position])
        compiled = in_graph(tf.constant(image), tf.constant((4, position), tf.int64)).numpy()
        np.testing.assert_array_equal(compiled, first[position])


def test_different_seeds_change_an_image_differently() -> None:
    image, config = photograph(), AugmentConfig(rotation=30)
    seeds = [(key, position) for key in range(4) for position in range(10)]
    assert len({changed(image, seed, config).tobytes() for seed in seeds}) == len(seeds)


def test_with_everything_off_the_image_is_the_very_same() -> None:
    image = tf.constant(photograph())
    assert augment(image, tf.constant((0, 0), tf.int64), AugmentConfig()) is image
    assert augment(image, tf.constant((0, 0), tf.int64), AugmentConfig(fill_mode="constant")) is image


def test_constant_fill_is_black_outside_the_image() -> None:
    image, config = np.full((20, 20, 3), 255, np.uint8), AugmentConfig(width_shift=0.5, fill_mode="constant")
    position = next(p for p in range(100) if uniforms((0, p))[2] > 0.8)
    right = (2 * uniforms((0, position))[2] - 1) * 0.5 * 20
    result = changed(image, (0, position), config)
    columns = np.arange(20) + right
    assert (result[:, columns <= 19] == 255).all()
    assert (result[:, columns >= 20] == 0).all()


def test_wrapping_fill_comes_from_the_other_side() -> None:
    image, config = photograph(20), AugmentConfig(width_shift=0.5, fill_mode="wrap")
    exact = tf.constant([0.5, 0.5, 0.8, 0.5, 0.5, 0.5, 0.9])  # 3 whole pixels of 20
    np.testing.assert_allclose(transform_vector(exact, config, 20).numpy()[2], 6, atol=1e-5)
    position = next(p for p in range(100) if uniforms((0, p))[2] > 0.8)
    right = (2 * uniforms((0, position))[2] - 1) * 0.5 * 20
    result = changed(image, (0, position), config).astype(float)
    whole, part = divmod(right, 1)
    columns = np.arange(20)
    inside = columns + right <= 19
    shifted = np.roll(image, -int(whole), 1) * (1 - part) + np.roll(image, -int(whole) - 1, 1) * part
    wrapped = columns + right >= 20
    assert np.abs(result - shifted)[:, inside | wrapped].max() <= 1
