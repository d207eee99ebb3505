"""RandAugment: each operation against Pillow, how often each is drawn, and how many an image goes through."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from cnn_jax.config import AugmentConfig, RandAugmentConfig
from cnn_jax.data.augment import randaugment as module
from cnn_jax.data.augment.randaugment import OPERATIONS
from tests.data.augmenting import LEVEL, changed, many_changed, photograph

PAPER = [
    "identity",
    "auto_contrast",
    "equalize",
    "rotate",
    "solarize",
    "colour",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
]


def configured(magnitude: float, operations: int = 1) -> AugmentConfig:
    return AugmentConfig(rand_augment=RandAugmentConfig(operations, magnitude), fill_mode="constant", fill_value=0)


def smooth(height: int = 20, width: int = 31) -> np.ndarray:
    """Waves of a few pixels' length that leave out some grey levels: uint8[height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 5 + i) + np.cos(y / (4 + i)) for i in range(3)]
    return (120 + 45 * np.stack(waves, -1)).astype(np.uint8)


def moved(*affine: float) -> Callable[[Image.Image], Image.Image]:
    """By a, b, c, d, e, f of Pillow, which counts from the corners of the pixels."""
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)


def references(
    strength: float, direction: int, width: int, height: int
) -> dict[str, Callable[[Image.Image], Image.Image]]:
    factor, slope, shift = 1 + 0.9 * strength * direction, 0.3 * strength * direction, 150 / 331 * strength * direction
    degrees = 30 * strength * direction
    return {
        "identity": lambda image: image,
        "auto_contrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "rotate": lambda image: image.rotate(degrees, Image.Resampling.BILINEAR),
        "solarize": lambda image: ImageOps.solarize(image, math.ceil(256 * (1 - strength))),
        "colour": lambda image: ImageEnhance.Color(image).enhance(factor),
        "posterize": lambda image: ImageOps.posterize(image, 8 - round(4 * strength)),
        "contrast": lambda image: ImageEnhance.Contrast(image).enhance(factor),
        "brightness": lambda image: ImageEnhance.Brightness(image).enhance(factor),
        "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(factor),
        "shear_x": moved(1, slope, 0, 0, 1, 0),
        "shear_y": moved(1, 0, 0, slope, 1, 0),
        "translate_x": moved(1, 0, shift * width, 0, 1, 0),
        "translate_y": moved(1, 0, 0, 0, 1, shift * height),
    }


def test_the_operations_are_the_papers() -> None:
    assert list(OPERATIONS) == PAPER


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize(("magnitude", "direction"), [(0.0, 1), (4.0, -1), (9.0, 1), (10.0, -1)])
def test_each_operation_is_pillows(name: str, magnitude: float, direction: int) -> None:
    """Up to the fill at the rim, where Pillow's bilinear resample stops half a pixel later."""
    image, strength = smooth(), magnitude / 10
    reference = references(strength, direction, image.shape[1], image.shape[0])[name]
    expected = np.asarray(reference(Image.fromarray(image)), int)
    config = configured(magnitude)
    ours = OPERATIONS[name](tf.constant(image), tf.constant(float(direction)), config).numpy().astype(int)
    compared = np.ones(image.shape[:2], bool)
    if name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        white = OPERATIONS[name](tf.constant(np.full_like(image, 255)), tf.constant(float(direction)), config).numpy()
        compared = white[..., 0] == 255
        assert compared.sum() > 250
    tolerance = 0 if name in ("identity", "equalize", "posterize", "solarize") else 2
    assert np.abs(ours - expected)[compared].max() <= tolerance


def test_magnitude_zero_leaves_the_image_but_for_the_two_that_have_no_strength() -> None:
    image = smooth()
    for name, operation in OPERATIONS.items():
        ours = operation(tf.constant(image), tf.constant(1.0), configured(0.0)).numpy().astype(int)
        assert (np.abs(ours - image).max() <= 1) == (name not in ("auto_contrast", "equalize")), name


@pytest.mark.parametrize("value", [0, 7, 255])
def test_images_of_one_grey_are_no_trouble(value: int) -> None:
    image = np.full((5, 4, 3), value, np.uint8)
    for name in ("auto_contrast", "equalize"):
        np.testing.assert_array_equal(OPERATIONS[name](tf.constant(image), tf.constant(1.0), configured(5.0)), image)


def test_each_operation_and_direction_is_as_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    """With operations that write their own number, and whether they go the other way."""

    def writes(number: int) -> module.Operation:
        def operation(image: tf.Tensor, direction: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
            return tf.fill(tf.shape(image), tf.cast(tf.where(direction < 0, 2 * number + 1, 2 * number), tf.uint8))

        return operation

    monkeypatch.setattr(module, "OPERATIONS", {str(number): writes(number) for number in range(14)})
    found = many_changed(photograph(2), configured(5.0), 1000)[:, 0, 0, 0]
    counts = np.bincount(found, minlength=28)
    assert len(counts) == 28
    assert stats.chisquare(counts).pvalue > LEVEL


@pytest.mark.parametrize("operations", [1, 3])
def test_an_image_goes_through_so_many_operations(operations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "OPERATIONS", {"one": lambda image, direction, config: image + tf.constant(1, tf.uint8)}
    )
    result = changed(np.zeros((3, 3, 3), np.uint8), (0, 1), configured(5.0, operations))
    assert (result == operations).all()


def test_the_operations_of_an_image_are_drawn_independently(monkeypatch: pytest.MonkeyPatch) -> None:
    def appends(digit: int) -> module.Operation:
        return lambda image, direction, config: image * tf.constant(10, tf.uint8) + tf.constant(digit, tf.uint8)

    monkeypatch.setattr(module, "OPERATIONS", {str(digit): appends(digit) for digit in range(4)})
    found = many_changed(np.zeros((1, 1, 3), np.uint8), configured(5.0, 2))[:, 0, 0, 0]
    table = np.zeros((4, 4))
    np.add.at(table, (found // 10, found % 10), 1)
    assert stats.chisquare(table.ravel()).pvalue > LEVEL
