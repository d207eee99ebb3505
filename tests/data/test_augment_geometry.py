"""Flips, rotation, shifts, shear and zoom against Keras' own code, and the distribution of each."""

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from scipy import stats

from cnn_jax.config import AugmentConfig, FillMode
from cnn_jax.data.augment import augment
from cnn_jax.data.augment.chance import Stage
from cnn_jax.data.augment.geometry import DRAWS, transform_vector
from tests.data.augmenting import (
    LEVEL,
    MANY,
    SCIPY_NAMESPACE,
    assert_share,
    assert_uniform,
    by_keras,
    changed,
    drawn,
    many_changed,
    many_drawn,
    parameters,
    photograph,
)


def uniforms(seed: tuple[int, int]) -> np.ndarray:
    return drawn(seed, Stage.GEOMETRY, DRAWS)


def vectors(config: AugmentConfig, height: int = 21, width: int = 21) -> np.ndarray:
    """float64[MANY, 6]: the transforms of many seeds."""
    draws = tf.constant(many_drawn(Stage.GEOMETRY, DRAWS))
    mapped = tf.function(lambda: tf.map_fn(lambda one: transform_vector(one, config, height, width, tf), draws))
    found = mapped().numpy().astype(np.float64)
    assert (found[:, 6:] == 0).all()
    return found[:, :6]


def fixed_points(found: np.ndarray, x: float, y: float) -> np.ndarray:
    """Where the transforms take a point."""
    return np.stack([found[:, 0] * x + found[:, 1] * y + found[:, 2], found[:, 3] * x + found[:, 4] * y + found[:, 5]])


SETTINGS = st.builds(
    AugmentConfig,
    horizontal_flip=st.booleans(),
    vertical_flip=st.booleans(),
    rotation=st.sampled_from([0.0, 10.0, 45.0, 180.0]),
    width_shift=st.sampled_from([0.0, 0.1, 0.5, 3.0, (0.1, 0.3), (0.0, 1.0, 4.0)]),
    height_shift=st.sampled_from([0.0, 0.2, 0.4, 7.0]),
    shear=st.sampled_from([0.0, 15.0, 60.0]),
    zoom=st.sampled_from([0.0, 0.3, 0.8, (0.5, 0.9), (1.5, 2.0)]),
    fill_mode=st.sampled_from(["nearest", "reflect"]),
    compatibility=st.sampled_from(["none", "keras"]),
)
SIZES = st.sampled_from([(1, 1), (2, 2), (8, 8), (21, 21), (64, 64), (8, 21), (30, 12), (1, 7)])


@pytest.mark.filterwarnings(SCIPY_NAMESPACE)
@settings(max_examples=100, deadline=None)
@given(SETTINGS, st.integers(0, 2**62), st.integers(0, 10**6), SIZES)
def test_an_image_is_changed_as_keras_changes_it(
    config: AugmentConfig, key: int, position: int, size: tuple[int, int]
) -> None:
    image = photograph(*size, seed=position)
    ours = changed(image, (key, position), config)
    assert ours.dtype == np.uint8
    assert ours.shape == image.shape
    assert np.abs(ours - by_keras(image, uniforms((key, position)), config)).max() <= 1


FILLED = {
    "rotation": 40.0,
    "shear": 30.0,
    "width_shift": 0.4,
    "height_shift": 5.0,
    "zoom": 0.5,
    "horizontal_flip": True,
}


@pytest.mark.filterwarnings(SCIPY_NAMESPACE)
@pytest.mark.parametrize("fill_mode", ["constant", "wrap"])
@pytest.mark.parametrize("name", FILLED)
def test_each_transform_alone_is_keras_up_to_the_rim(name: str, fill_mode: FillMode) -> None:
    config, image = AugmentConfig(**{name: FILLED[name]}, fill_mode=fill_mode, fill_value=77), photograph(20, 33)
    for position in range(12):
        expected = by_keras(image, uniforms((1, position)), config)
        assert np.abs(changed(image, (1, position), config) - expected).max() <= 1


@pytest.mark.filterwarnings(SCIPY_NAMESPACE)
def test_compatibility_with_keras_does_what_its_generator_does() -> None:
    """Channel shift and brightness too, in its order. It cuts off what we round, twice: 3 of 255 for a factor of
    1.3."""
    config = AugmentConfig(
        horizontal_flip=True,
        vertical_flip=True,
        rotation=30,
        width_shift=0.3,
        height_shift=0.1,
        shear=10,
        zoom=0.2,
        channel_shift=40,
        brightness=(0.7, 1.3),
        compatibility="keras",
    )
    generator, image = ImageDataGenerator(fill_mode="nearest"), photograph(24, 31)
    for position in range(20):
        seed = (3, position)
        colours = drawn(seed, Stage.KERAS_COLOUR, 2)
        chosen = parameters(uniforms(seed), config, 24, 31)
        chosen |= {"channel_shift_intensity": (2 * colours[0] - 1) * 40, "brightness": 0.7 + 0.6 * colours[1]}
        expected = generator.apply_transform(image.astype(np.float32), chosen)
        assert np.abs(changed(image, seed, config) - expected).max() <= 3
        correct = AugmentConfig(**{**config.__dict__, "compatibility": "none"})
        assert np.abs(changed(image, seed, correct) - expected).max() > 30


def test_rotation_alone_is_uniform_either_way_around_the_centre() -> None:
    found = vectors(AugmentConfig(rotation=30), 21, 41)
    a, b, _, d, e, _ = found.T
    assert_uniform(np.rad2deg(np.arctan2(d, a)), -30, 30)
    np.testing.assert_allclose([a, b], [e, -d], atol=1e-6)
    np.testing.assert_allclose(a * e - b * d, 1, atol=1e-6)
    np.testing.assert_allclose(fixed_points(found, 20, 10), [[20] * MANY, [10] * MANY], atol=1e-4)


def test_shear_alone_is_uniform_either_way_around_the_centre() -> None:
    found = vectors(AugmentConfig(shear=20))
    a, b, _, d, e, _ = found.T
    assert_uniform(np.rad2deg(np.arctan2(-b, e)), -20, 20)
    assert (a == 1).all()
    assert (d == 0).all()
    np.testing.assert_allclose(np.hypot(b, e), 1, atol=1e-6)
    np.testing.assert_allclose(fixed_points(found, 10, 10), 10, atol=1e-4)


@pytest.mark.parametrize(("size", "limit"), [(0.2, 20), (3.0, 3), (1.0, 1)])
def test_shifts_alone_are_uniform_fractions_of_the_size_or_pixels(size: float, limit: float) -> None:
    found = vectors(AugmentConfig(width_shift=size), 50, 100)
    assert_uniform(found[:, 2], -limit, limit)
    np.testing.assert_allclose(found[:, [0, 1, 3, 4, 5]], [[1, 0, 0, 1, 0]] * MANY, atol=1e-5)
    found = vectors(AugmentConfig(height_shift=size), 100, 50)
    assert_uniform(found[:, 5], -limit, limit)
    np.testing.assert_allclose(found[:, [0, 1, 2, 3, 4]], [[1, 0, 0, 0, 1]] * MANY, atol=1e-5)


@pytest.mark.parametrize(("sizes", "steps"), [((0.1, 0.2, 0.25), (10, 20, 25)), ((2.0, 5.0), (2, 5))])
def test_of_several_shifts_each_is_as_likely_and_so_is_each_direction(
    sizes: tuple[float, ...], steps: tuple[int, ...]
) -> None:
    values, counts = np.unique(vectors(AugmentConfig(width_shift=sizes), 50, 100)[:, 2].round(3), return_counts=True)
    assert set(values) == {*steps, *(-step for step in steps)}
    assert stats.chisquare(counts).pvalue > LEVEL


@pytest.mark.parametrize(("zoom", "low", "high"), [(0.25, 0.75, 1.25), ((0.5, 0.9), 0.5, 0.9)])
def test_zoom_alone_is_uniform_and_independent_for_rows_and_columns(zoom: Any, low: float, high: float) -> None:
    found = vectors(AugmentConfig(zoom=zoom))
    a, b, _, d, e, _ = found.T
    assert_uniform(a, low, high)
    assert_uniform(e, low, high)
    assert stats.pearsonr(a, e).pvalue > LEVEL
    assert (b == 0).all()
    assert (d == 0).all()
    np.testing.assert_allclose(fixed_points(found, 10, 10), 10, atol=1e-4)


def test_the_parameters_of_an_image_are_drawn_independently() -> None:
    draws = many_drawn(Stage.GEOMETRY, DRAWS)
    correlations = np.corrcoef(draws.T)[np.triu_indices(DRAWS, 1)]
    assert np.abs(correlations).max() < 4 / math.sqrt(MANY)


@pytest.mark.parametrize("direction", ["horizontal_flip", "vertical_flip"])
@pytest.mark.parametrize("resampled", [False, True])
def test_a_flip_alone_mirrors_half_of_the_images_exactly(direction: str, resampled: bool) -> None:
    """As it does where other transforms make a resample of it."""
    image = photograph(5, 8)
    config = AugmentConfig(**{direction: True}, width_shift=1e-9 if resampled else 0.0)
    results = many_changed(image, config)
    mirrored = image[:, ::-1] if direction == "horizontal_flip" else image[::-1]
    flipped = np.array([np.array_equal(result, mirrored) for result in results])
    assert (results[~flipped] == image).all()
    assert_share(flipped, 0.5)


def test_with_everything_off_the_image_is_the_very_same() -> None:
    image = tf.constant(photograph())
    assert augment(image, tf.constant((0, 0), tf.int64), AugmentConfig()) is image
    odd = AugmentConfig(fill_mode="constant", compatibility="keras", mixup=0.2, width_shift=(0.0,), zoom=(1.0, 1.0))
    assert augment(image, tf.constant((0, 0), tf.int64), odd) is image
