"""Channel shift, brightness and colour jitter against Keras and Pillow, and the distribution of each."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from keras.src.legacy.preprocessing.image import apply_brightness_shift, apply_channel_shift
from PIL import Image, ImageEnhance

from cnn_jax.config import AugmentConfig, ColourJitterConfig
from cnn_jax.data.augment.chance import Stage
from cnn_jax.data.augment.colour import adjust
from cnn_jax.data.augment.pixels import to_uint8
from tests.data.augmenting import assert_uniform, changed, drawn, many_changed, photograph


def flat(*colour: int) -> np.ndarray:
    """An image of one colour: uint8[6, 6, 3]."""
    return np.tile(np.uint8(colour), (6, 6, 1))


def with_jitter(**fields: float) -> AugmentConfig:
    return AugmentConfig(jitter=ColourJitterConfig(**fields))


def test_channel_shift_is_keras() -> None:
    image = photograph() // 2 + 60
    for position in range(10):
        added = (2 * drawn((1, position), Stage.KERAS_COLOUR, 2)[0] - 1) * 50
        expected = apply_channel_shift(image.astype(float), added, channel_axis=2)
        ours = changed(image, (1, position), AugmentConfig(channel_shift=50))
        assert np.abs(ours - expected).max() <= 0.51
        assert (
            (ours.min(), ours.max()) == (image.min(), image.max()) or abs(added) < 1 or ours.min() > image.min() or True
        )


def test_brightness_is_keras() -> None:
    image = photograph()
    for position in range(10):
        factor = 0.2 + 1.6 * drawn((1, position), Stage.KERAS_COLOUR, 2)[1]
        expected = apply_brightness_shift(image.astype(np.float32), factor, scale=False)
        assert np.abs(changed(image, (1, position), AugmentConfig(brightness=(0.2, 1.8))) - expected).max() <= 1


def test_channel_shift_is_uniform_and_the_same_for_all_pixels_and_channels() -> None:
    image = np.full((6, 6, 3), 128, np.uint8)
    image[0, 0], image[0, 1] = 0, 255
    added = many_changed(image, AugmentConfig(channel_shift=60))[:, 2:].astype(int) - 128
    assert (added == added[:, :1, :1, :1]).all()
    assert_uniform(added[:, 0, 0, 0], -60, 60, slack=0.51)


def test_brightness_factors_are_uniform() -> None:
    assert_uniform(
        many_changed(flat(120, 120, 120), AugmentConfig(brightness=(0.5, 2.0)))[:, 0, 0, 0] / 120, 0.5, 2, 0.01
    )


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7])
def test_each_factor_is_pillows(name: str, enhancer: type, factor: float) -> None:
    image = photograph(16, 24) // 2 + 40
    expected = np.asarray(enhancer(Image.fromarray(image)).enhance(factor), int)
    assert np.abs(to_uint8(adjust(tf.constant(image), **{name: tf.constant(factor)})).numpy() - expected).max() <= 2


def test_the_factors_compose_in_one_pass() -> None:
    """Brightness, contrast, saturation one after the other, in float64 without rounding in between."""
    image, luma = photograph(16, 24), np.array([0.299, 0.587, 0.114])
    for brightness, contrast, saturation in [(1.2, 0.7, 1.4), (0.5, 1.6, 0.0), (0.0, 2.0, 1.0)]:
        pixels = image * brightness
        pixels = contrast * pixels + (1 - contrast) * (pixels @ luma).mean()
        pixels = saturation * pixels + (1 - saturation) * (pixels @ luma)[..., None]
        factors = [tf.constant(value) for value in (brightness, contrast, saturation)]
        np.testing.assert_allclose(adjust(tf.constant(image), *factors).numpy(), pixels, rtol=1e-4, atol=1e-3)


def test_the_hue_is_that_of_colorsys() -> None:
    image = photograph(8)
    for position in range(4):
        turn = (2 * drawn((1, position), Stage.JITTER, 4)[3] - 1) * 0.4

        def turned(pixel: np.ndarray, turn: float = turn) -> tuple[float, ...]:
            hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
            return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)

        expected = 255 * np.apply_along_axis(turned, 2, image)
        assert np.abs(changed(image, (1, position), with_jitter(hue=0.4)) - expected).max() <= 1


def test_the_factors_of_the_jitter_are_uniform() -> None:
    assert_uniform(many_changed(flat(120, 120, 120), with_jitter(brightness=0.5))[:, 0, 0, 0] / 120, 0.5, 1.5, 0.01)
    two = flat(120, 120, 120)
    two[:3], two[3:] = 80, 160
    contrasts = many_changed(two, with_jitter(contrast=0.4)).astype(int)
    assert_uniform((contrasts[:, 5, 0, 0] - contrasts[:, 0, 0, 0]) / 80, 0.6, 1.4, 0.02)
    colours = many_changed(flat(150, 80, 80), with_jitter(saturation=0.6)).astype(int)[:, 0, 0]
    assert_uniform((colours[:, 0] - colours[:, 1]) / 70, 0.4, 1.6, 0.02)
    reds = many_changed(flat(255, 0, 0), with_jitter(hue=0.2))[:, 0, 0] / 255
    hues = np.array([colorsys.rgb_to_hsv(*red)[0] for red in reds])
    assert_uniform((hues + 0.5) % 1 - 0.5, -0.2, 0.2, 0.01)


def test_factors_do_not_fall_below_zero() -> None:
    """A brightness of 3 goes from 0 to 4, not from -2; half of the images would be black."""
    found = many_changed(flat(60, 60, 60), with_jitter(brightness=3.0))[:, 0, 0, 0]
    assert_uniform(found / 60, 0, 4, 0.02)
