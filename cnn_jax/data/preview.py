"""What the augmentation of a configuration does to the images of a split, as a picture."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import AugmentConfig
from cnn_jax.data.mixing import mix
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import View, evaluation_batches

GAP, MARGIN = 4, 16
"""Pixels between the images, and between the originals and the rest."""

WHITE = 255


def preview(
    split: Split, resize: Resize, config: AugmentConfig, seed: int, rows: int = 6, columns: int = 5
) -> np.ndarray:
    """Images of a split, and to the right of each how training may see it.

    The images are spread over the split, so that a list that is sorted by class shows several. Each column is one pass
    over the data; mixup and CutMix take the image above as the other one.

    Args:
        split: where the images come from.
        resize: how images become what the network takes.
        config: the augmentation.
        seed: of the run.
        rows: images at most.
        columns: augmented versions of each.

    Returns:
        uint8[h, w, 3]: the grid, on white.

    Raises:
        DataError: an image cannot be read; the message names the file.
    """
    return _grid(versions(spread(split, rows), resize, config, seed, columns))


def spread(split: Split, count: int) -> Split:
    """Up to `count` examples at even distances."""
    return split.take(np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(np.int64)))


def versions(split: Split, resize: Resize, config: AugmentConfig, seed: int, count: int) -> np.ndarray:
    """All images of a small split, and so many augmented versions of each; arguments as for `preview`.

    Returns:
        uint8[n, 1 + count, size, size, 3]: the image as it is comes first.
    """
    passes = [_images(split, resize, None)]
    for number in range(count):
        images = _images(split, resize, View(config, seed, number))
        key = jax.random.fold_in(jax.random.key(seed), number)
        mixed = mix(jnp.asarray(images), jnp.asarray(split.labels), key, config).images
        passes.append(np.asarray(mixed.round().astype(jnp.uint8)))
    return np.stack(passes, 1)


def _images(split: Split, resize: Resize, view: View | None) -> np.ndarray:
    """uint8[n, size, size, 3]"""
    (batch,) = evaluation_batches(split, resize, len(split), view=view)
    return batch["image"]


def _grid(images: np.ndarray) -> np.ndarray:
    """uint8[rows, columns, s, s, 3] as one picture; the first column stands apart."""
    rows, columns, size = images.shape[:3]
    step = size + GAP
    picture = np.full((rows * step - GAP, columns * step - GAP + MARGIN - GAP, 3), WHITE, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * step, column * step + (MARGIN - GAP if column else 0)
            picture[top : top + size, left : left + size] = images[row, column]
    return picture
