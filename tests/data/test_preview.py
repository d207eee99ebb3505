"""The picture of originals beside augmented images."""

import numpy as np
import pytest

from cnn_jax.config import AugmentConfig
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.preview import GAP, HEADING, MARGIN, below, preview, resize_modes
from cnn_jax.data.sources import ArrayImages, Split
from cnn_jax.data.stream import View, evaluation_batches

SIZE = 10


def split(count: int) -> Split:
    pixels = np.random.default_rng(0).integers(0, 200, (count, 16, 12, 3), dtype=np.uint8)
    return Split(tuple(map(str, range(count))), np.arange(count, dtype=np.int32), ArrayImages(pixels))


class Listed(list):
    """Images of several sizes."""

    def array(self, index: int) -> np.ndarray:
        return self[index]

    def take(self, indices: np.ndarray) -> "Listed":
        return Listed(self[index] for index in indices)


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    left = column * (SIZE + GAP) + (MARGIN - GAP if column else 0)
    return picture[row * (SIZE + GAP) :, left:][:SIZE, :SIZE]


def test_the_first_column_has_the_originals_spread_over_the_split_and_the_rest_what_the_seed_makes_of_them() -> None:
    config, source = AugmentConfig(rotation=40, horizontal_flip=True), split(9)
    picture = preview(source, Resize(SIZE), config, seed=3, rows=3, columns=2)
    assert picture.dtype == np.uint8
    assert picture.shape == (3 * SIZE + 2 * GAP, 3 * SIZE + MARGIN + GAP, 3)
    shown = source.take([0, 4, 8])
    for row in range(3):
        np.testing.assert_array_equal(cell(picture, row, 0), Resize(SIZE)(shown.images.load(row)).numpy())
    for number in range(2):
        (batch,) = evaluation_batches(shown, Resize(SIZE), 3, view=View(config, 3, number))
        for row in range(3):
            np.testing.assert_array_equal(cell(picture, row, number + 1), batch["image"][row])
    assert (picture[SIZE : SIZE + GAP] == 255).all()
    assert (picture[:, SIZE : SIZE + MARGIN] == 255).all()


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 2), (20, 4)])
def test_a_small_split_gives_fewer_rows(count: int, rows: int) -> None:
    picture = preview(split(count), Resize(SIZE), AugmentConfig(), seed=0, rows=4, columns=1)
    assert len(picture) == rows * (SIZE + GAP) - GAP


@pytest.mark.long
def test_mixed_images_are_shown_mixed() -> None:
    picture = preview(split(2), Resize(SIZE), AugmentConfig(mixup=100.0), seed=0, rows=2, columns=1)
    half = (cell(picture, 0, 0).astype(float) + cell(picture, 1, 0)) / 2
    assert np.abs(cell(picture, 0, 1) - half).max() < 40
    assert (cell(picture, 0, 1) != cell(picture, 0, 0)).any()


def test_images_of_other_proportions_are_shown_by_each_way_to_resize_them_the_farthest_first() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 200, shape, dtype=np.uint8) for shape in ((16, 16, 3), (10, 15, 3), (40, 10, 1))]
    source = Split(("square", "wide", "tall"), np.zeros(3, np.int32), Listed(images))
    picture = resize_modes(source, Resize(SIZE, "crop"), rows=2)
    assert picture is not None
    assert picture.shape == (HEADING + 2 * SIZE + GAP, 4 * SIZE + 2 * GAP + MARGIN, 3)
    for row, image in enumerate((images[2], images[1])):
        for column, fit in enumerate(("squash", "crop", "pad"), start=1):
            expected = Resize(SIZE, fit).array(image)
            np.testing.assert_array_equal(cell(picture[HEADING:], row, column), expected)
    tall = cell(picture[HEADING:], 0, 0)  # two columns in the middle of white
    assert (tall[:, :4] == 255).all()
    assert (tall[:, 4:6] < 255).all()
    assert (tall[:, 6:] == 255).all()
    assert (picture[:HEADING] < 128).any()
    assert below(picture[:5], picture[:, :7]).shape == (5 + MARGIN + len(picture), picture.shape[1], 3)
    assert resize_modes(Split(("square",), np.zeros(1, np.int32), ArrayImages(images[0][None])), Resize(SIZE)) is None


def test_for_a_network_that_is_not_square_images_of_its_proportions_are_as_they_should_be() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 200, shape, dtype=np.uint8) for shape in ((8, 12, 3), (16, 16, 3), (30, 20, 3))]
    source = Split(("like it", "square", "upright"), np.zeros(3, np.int32), Listed(images))
    resize = Resize((6, 9), "pad")
    picture = resize_modes(source, resize)
    assert picture is not None
    step = 6 + GAP
    assert picture.shape == (HEADING + 2 * step - GAP, 4 * 9 + 2 * GAP + MARGIN, 3)
    for row, image in enumerate((images[2], images[1])):
        top = HEADING + row * step
        np.testing.assert_array_equal(picture[top : top + 6, -9:], resize.array(image))
