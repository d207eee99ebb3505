"""Random erasing: how often, how much, where, and with what."""

import math

import numpy as np
from scipy import stats

from cnn_jax.config import AugmentConfig, ErasingConfig
from tests.data.augmenting import LEVEL, assert_share, assert_uniform, changed, many_changed, photograph

SIDE = 80


def rectangles(found: np.ndarray) -> np.ndarray:
    """int[n, 4] of the erased images of zeros: top, left, height, width; and nothing else is erased."""
    edges = []
    for image in found:
        rows, columns = np.nonzero(image.any((1, 2)))[0], np.nonzero(image.any((0, 2)))[0]
        edges.append((rows[0], columns[0], len(rows), len(columns)))
        assert (image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 255).all()
    return np.array(edges)


def test_probability_area_ratio_and_place() -> None:
    config = AugmentConfig(erasing=ErasingConfig(0.6, (0.05, 0.3), (0.5, 2.0), "constant"), fill_value=255)
    found = many_changed(np.zeros((SIDE, SIDE, 3), np.uint8), config, 600)
    erased = found.any((1, 2, 3))
    assert_share(erased, 0.6)
    top, left, height, width = rectangles(found[erased]).T
    assert_uniform(height * width / SIDE**2, 0.05, 0.3, slack=0.01)
    assert_uniform(np.log(width / height), math.log(0.5), math.log(2), slack=0.1)
    assert_uniform((top + 0.5) / (SIDE - height + 1), 0, 1, slack=0.05)
    assert_uniform((left + 0.5) / (SIDE - width + 1), 0, 1, slack=0.05)


def test_the_noise_is_uniform_and_lies_inside_of_one_rectangle() -> None:
    image = photograph(64)
    config = AugmentConfig(erasing=ErasingConfig(1.0, (0.2, 0.3)))
    results = [changed(image, (0, position), config) for position in range(4)]
    values = []
    for result in results:
        different = (result != image).any(-1)
        rows, columns = np.nonzero(different.any(1))[0], np.nonzero(different.any(0))[0]
        box = result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert 0.18 < box.shape[0] * box.shape[1] / 64**2 < 0.32
        values.append(box.ravel())
    counts = np.bincount(np.concatenate(values), minlength=256)
    assert stats.chisquare(counts).pvalue > LEVEL


def test_nothing_is_erased_where_no_rectangle_fits() -> None:
    image = photograph(16)
    config = AugmentConfig(erasing=ErasingConfig(1.0, (0.9, 1.0), (3.0, 4.0)))
    for position in range(5):
        np.testing.assert_array_equal(changed(image, (0, position), config), image)
