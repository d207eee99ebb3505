"""Mixup and CutMix: the distributions of their shares, and that images and targets are shared alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cnn_jax.config import AugmentConfig
from cnn_jax.data.mixing import Mixed, mix
from tests.data.augmenting import LEVEL, assert_follows, assert_share

COUNT, SIZE = 1000, 16


def batch(count: int = COUNT, size: int = SIZE) -> tuple[jax.Array, jax.Array]:
    """Image i is of one grey, i modulo 251, and so is its label."""
    greys = np.arange(count) % 251
    return jnp.asarray(np.tile(greys[:, None, None, None], (1, size, size, 3)), jnp.uint8), jnp.asarray(
        greys, jnp.int32
    )


def mixed(config: AugmentConfig, seed: int = 0, count: int = COUNT, size: int = SIZE) -> Mixed:
    return jax.jit(mix, static_argnums=3)(*batch(count, size), jax.random.key(seed), config)


def shares_of(result: Mixed) -> np.ndarray:
    assert result.shares is not None
    return np.asarray(result.shares, np.float64)


def test_without_mixing_the_batch_is_as_it_was() -> None:
    images, labels = batch(3)
    result = mix(images, labels, jax.random.key(0), AugmentConfig(rotation=10))
    assert result == Mixed(images, labels, None, None)
    assert result.main_labels is labels


@pytest.mark.sample(2)
@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_blends_by_a_share_from_the_beta_distribution(alpha: float) -> None:
    result = mixed(AugmentConfig(mixup=alpha))
    shares = shares_of(result)
    assert_follows(shares, stats.beta(alpha, alpha).cdf)
    ours, theirs = np.asarray(result.labels), np.asarray(result.partners)
    np.testing.assert_array_equal(theirs, np.roll(ours, 1))
    blend = shares * ours + (1 - shares) * theirs
    np.testing.assert_allclose(
        result.images, np.broadcast_to(blend[:, None, None, None], result.images.shape), atol=1e-3
    )


def boxes_of_the_paper(alpha: float, size: int, count: int) -> np.ndarray:
    """The shares that are left of each image, drawn as in the authors' code: whole pixels, cut off at the edges."""
    rng = np.random.default_rng(0)
    side = (size * np.sqrt(1 - rng.beta(alpha, alpha, count))).astype(int)
    centres = rng.integers(0, size, (2, count))
    lengths = [np.clip(c + side // 2, 0, size) - np.clip(c - side // 2, 0, size) for c in centres]
    return 1 - lengths[0] * lengths[1] / size**2


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_cutmix_pastes_rectangles_like_the_papers(alpha: float) -> None:
    shares = shares_of(mixed(AugmentConfig(cutmix=alpha), size=64))
    assert stats.ks_2samp(shares, boxes_of_the_paper(alpha, 64, 20000)).pvalue > LEVEL


def test_cutmix_shares_the_target_by_the_pasted_area() -> None:
    result = mixed(AugmentConfig(cutmix=1.0), count=200)
    images, ours, theirs = np.asarray(result.images)[..., 0], np.asarray(result.labels), np.asarray(result.partners)
    pasted = images == theirs[:, None, None]
    assert (pasted | (images == ours[:, None, None])).all()
    np.testing.assert_allclose(shares_of(result), 1 - pasted.mean((1, 2)), atol=1e-6)
    for mask in pasted:
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns)
        assert (np.abs(np.diff(np.concatenate([[False], rows, [False]]).astype(int))).sum()) in (0, 2)


def test_with_both_half_of_the_images_take_each() -> None:
    result = mixed(AugmentConfig(mixup=8.0, cutmix=1.0))
    images = np.asarray(result.images)
    blended = (images == images[:, :1, :1]).all((1, 2, 3)) & ~np.isin(shares_of(result), (0.0, 1.0))
    whole = np.isin(shares_of(result), (0.0, 1.0))  # a rectangle of no pixel
    assert whole.mean() < 0.05
    assert_share(blended[~whole], 0.5)


def test_the_key_alone_chooses() -> None:
    config = AugmentConfig(mixup=0.4, cutmix=1.0)
    first, again, other = mixed(config, 0), mixed(config, 0), mixed(config, 1)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (shares_of(first) != shares_of(other)).mean() > 0.9


def test_the_main_label_has_the_larger_share() -> None:
    result = Mixed(jnp.zeros(()), jnp.array([1, 2, 3]), jnp.array([4, 5, 6]), jnp.array([0.7, 0.2, 0.5]))
    assert result.main_labels.tolist() == [1, 5, 3]
