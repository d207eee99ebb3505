"""Random resized crop: what it cuts out, and that it reads the image as it is on disk."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.chance import Stage
from cnn_jax.data.augment.geometry import crop_window
from cnn_jax.data.augment.windows import WINDOW_DRAWS, draw_window
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import ArrayImages, Split
from cnn_jax.data.stream import TrainStream
from tests.data.augmenting import assert_uniform, changed, drawn, many_drawn, photograph


def windows(config: AugmentConfig, height: int, width: int) -> np.ndarray:
    """float64[MANY, 5]: top, left, height, width, fits of many seeds."""

    def one(draws: tf.Tensor) -> tf.Tensor:
        window = crop_window(draws, config, tf.constant(height), tf.constant(width))
        return tf.stack([*window[:4], tf.cast(window.fits, tf.float32)])

    draws = tf.constant(many_drawn(Stage.CROP, WINDOW_DRAWS))
    return tf.function(lambda: tf.map_fn(one, draws))().numpy().astype(np.float64)


def test_area_and_ratio_and_place_are_uniform() -> None:
    found = windows(AugmentConfig(crop_area=(0.1, 0.5)), 100, 120)
    top, left, height, width, fits = found.T
    assert fits.all()
    assert_uniform(height * width / 12000, 0.1, 0.5)
    assert_uniform(np.log(width / height), math.log(3 / 4), math.log(4 / 3))
    assert_uniform(top / (100 - height), 0, 1)
    assert_uniform(left / (120 - width), 0, 1)


def test_what_is_cut_out_lies_inside_of_the_image() -> None:
    top, left, height, width, fits = windows(AugmentConfig(crop_area=(0.08, 1.0)), 90, 200).T
    assert (np.stack([top, left]) >= 0).all()
    assert (top + height <= 90 + 1e-3).all()
    assert (left + width <= 200 + 1e-3).all()
    assert 0.9 < fits.mean() <= 1


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [((3 / 4, 4 / 3), (0, 133.33, 100, 133.33)), ((6.0, 8.0), (16.67, 0, 66.67, 400)), ((2.0, 5.0), (0, 0, 100, 400))],
)
def test_where_nothing_fits_it_is_the_largest_middle_part(
    ratio: tuple[float, float], expected: tuple[float, ...]
) -> None:
    """Draws of ones ask for all of the area, four times as wide as high, at the greatest ratio."""
    config = AugmentConfig(crop_area=(1.0, 1.0), crop_ratio=ratio)
    window = crop_window(tf.ones(WINDOW_DRAWS), config, tf.constant(100), tf.constant(400))
    assert not window.fits
    np.testing.assert_allclose(np.stack(window[:4]), expected, atol=0.01)


def test_the_first_rectangle_that_fits_is_taken() -> None:
    draws = np.full(WINDOW_DRAWS, 0.5, np.float32)
    draws[:3] = 1.0, 0.3, 0.2  # of the area; four times as wide as high, at most a quarter of it fits
    window = draw_window(tf.constant(draws), 100.0, 100.0, (0.0, 1.0), (4.0, 4.0), tf)
    assert window.fits
    np.testing.assert_allclose(np.stack(window[2:4]), [22.36, 89.44], atol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_crop_is_one_bilinear_resample_of_the_original(channels: int) -> None:
    """Against SciPy in float64, with half a pixel off on both sides."""
    config, (rows_of, columns_of) = AugmentConfig(crop_area=(0.1, 0.6)), (24, 31)
    image = photograph(50, 80)[..., :channels]
    for position in range(8):
        draws = drawn((4, position), Stage.CROP, WINDOW_DRAWS)
        window = crop_window(tf.constant(draws, tf.float32), config, tf.constant(50), tf.constant(80))
        top, left, height, width = (float(value) for value in window[:4])
        rows = top + (np.arange(rows_of) + 0.5) * height / rows_of - 0.5
        columns = left + (np.arange(columns_of) + 0.5) * width / columns_of - 0.5
        grid = np.meshgrid(rows, columns, indexing="ij")
        expected = np.stack(
            [
                ndimage.map_coordinates(image[..., i % channels].astype(float), grid, order=1, mode="nearest")
                for i in range(3)
            ],
            axis=-1,
        )
        ours = changed(image, (4, position), config, rows_of, columns_of)
        assert ours.shape == (rows_of, columns_of, 3)
        assert np.abs(ours - expected).max() <= 1


def test_other_transforms_apply_to_what_was_cut_out() -> None:
    """Of an image that is a slope, rotation by half a turn and a crop give the slope of the crop, upside down."""
    rows = np.arange(200, dtype=np.uint8)[:, None, None]
    image = np.broadcast_to(rows, (200, 100, 3)).copy()
    plain, flipped = AugmentConfig(crop_area=(0.2, 0.3)), AugmentConfig(crop_area=(0.2, 0.3), vertical_flip=True)
    mirrored = 0
    for position in range(12):
        straight, ours = (changed(image, (8, position), config, 16, 16) for config in (plain, flipped))
        mirrored += not np.array_equal(ours, straight)
        assert np.abs(ours - (straight if np.array_equal(ours, straight) else straight[::-1].astype(int))).max() <= 1
    assert 0 < mirrored < 12


def test_the_stream_crops_the_originals_not_the_resized_images() -> None:
    """Stripes of one pixel, which no image of this size can show, are there in small crops."""
    stripes = np.zeros((4, 64, 96, 3), np.uint8)
    stripes[:, :, ::2] = 255
    split = Split(tuple("abcd"), np.arange(4, dtype=np.int32), ArrayImages(stripes))
    near = TrainStream(split, Resize(8), 4, 0, AugmentConfig(crop_area=(0.002, 0.004)))
    batch = next(near.batches())
    assert batch["image"].shape == (4, 8, 8, 3)
    assert (batch["image"].max((1, 2, 3)).astype(int) - batch["image"].min((1, 2, 3)) > 150).all()
    far = next(TrainStream(split, Resize(8), 4, 0, AugmentConfig(rotation=1)).batches())["image"]
    assert far.max() - far.min() < 150
