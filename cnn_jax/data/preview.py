"""What resizing and the augmentation of a configuration do to the images of a split, as a picture."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from cnn_jax.config import AugmentConfig
from cnn_jax.data.mixing import mix
from cnn_jax.data.preprocess import Fit, Resize
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import View, evaluation_batches

GAP, MARGIN = 4, 16
"""Pixels between the images, and between the originals and the rest."""

WHITE = 255

LOOKED_AT, ALIKE = 32, 1.02
"""Images that are looked at for other proportions than the network's, and the quotient of both up to which they are
alike."""
HEADING = 18
"""Rows of pixels for the names of columns."""


def preview(
    split: Split, resize: Resize, config: AugmentConfig, seed: int, rows: int = 6, columns: int = 5
) -> UInt8[np.ndarray, "h w 3"]:
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
        The grid, on white.

    Raises:
        DataError: an image cannot be read; the message names the file.
    """
    return _grid(versions(spread(split, rows), resize, config, seed, columns))


def spread(split: Split, count: int) -> Split:
    """Up to `count` examples at even distances."""
    return split.take(np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(np.int64)))


def versions(
    split: Split, resize: Resize, config: AugmentConfig, seed: int, count: int
) -> UInt8[np.ndarray, "n columns h w 3"]:
    """All images of a small split, and so many augmented versions of each; arguments as for `preview`.

    Returns:
        Of each image 1 + count columns: the image as it is comes first.
    """
    passes = [_images(split, resize, None)]
    for number in range(count):
        images = _images(split, resize, View(config, seed, number))
        key = jax.random.fold_in(jax.random.key(seed), number)
        mixed = mix(jnp.asarray(images), jnp.asarray(split.labels), key, config).images
        passes.append(np.asarray(mixed.round().astype(jnp.uint8)))
    return np.stack(passes, 1)


def _images(split: Split, resize: Resize, view: View | None) -> UInt8[np.ndarray, "n h w 3"]:
    (batch,) = evaluation_batches(split, resize, len(split), view=view)
    return batch["image"]


def _grid(images: UInt8[np.ndarray, "n columns h w 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Rows and columns of images as one picture; the first column stands apart."""
    rows, columns, height, width, _ = images.shape
    picture = np.full((rows * (height + GAP) - GAP, _width(columns, width), 3), WHITE, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + GAP), _left(column, width)
            picture[top : top + height, left : left + width] = images[row, column]
    return picture


def _left(column: int, width: int) -> int:
    """Where a column of a `_grid` begins."""
    return column * (width + GAP) + (MARGIN - GAP if column else 0)


def _width(columns: int, width: int) -> int:
    """Of a `_grid`."""
    return _left(columns, width) - GAP


def resize_modes(split: Split, resize: Resize, rows: int = 3) -> UInt8[np.ndarray, "h w 3"] | None:
    """Images of a split whose proportions are not the network's: as they are, and as each value of `data.resize` does.

    Args:
        split: where the images come from; the ones that are farthest from its proportions are shown.
        resize: how images become what the network takes; its own way is marked.
        rows: images at most.

    Returns:
        The grid, on white, with the names of the columns; None where all images have them.
    """
    seen = spread(split, LOOKED_AT)
    images = [seen.images.array(index) for index in range(len(seen))]
    other = [(_difference(image.shape, resize.shape), image) for image in images]
    images = [image for by, image in sorted(other, key=lambda pair: pair[0], reverse=True) if by > ALIKE][:rows]
    if not images:
        return None
    fits = get_args(Fit)
    ways = [replace(resize, fit=fit) for fit in fits]
    cells = np.stack([np.stack([_whole(image, resize.shape), *(way.array(image) for way in ways)]) for image in images])
    names = ["as it is", *(f"{fit} (now)" if fit == resize.fit else fit for fit in fits)]
    return np.concatenate([_headings(names, resize.shape[1]), _grid(cells)])


def _difference(shape: tuple[int, ...], wanted: tuple[int, ...]) -> float:
    """The larger of two proportions, rows by columns, by the smaller one."""
    quotient = shape[0] * wanted[1] / (shape[1] * wanted[0])
    return max(quotient, 1 / quotient)


def _whole(image: UInt8[np.ndarray, "h w c"], shape: tuple[int, int, int]) -> UInt8[np.ndarray, "_ _ 3"]:
    """All of an image in its proportions, in the middle of white of this shape."""
    height, width, _ = shape
    picture = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).convert("RGB")
    picture.thumbnail((width, height))
    whole = Image.new("RGB", (width, height), "white")
    whole.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return np.asarray(whole)


def _headings(names: Sequence[str], width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A row of names over the columns of a `_grid`, of images of this width."""
    picture = Image.new("RGB", (_width(len(names), width), HEADING), "white")
    draw = ImageDraw.Draw(picture)
    for column, name in enumerate(names):
        draw.text((_left(column, width), 2), name, fill="black")
    return np.asarray(picture)


def below(first: UInt8[np.ndarray, "_ _ 3"], second: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Two pictures, one below the other, on white."""
    width = max(first.shape[1], second.shape[1])
    gap = np.full((MARGIN, width, 3), WHITE, np.uint8)

    def widened(picture: UInt8[np.ndarray, "h _ 3"]) -> UInt8[np.ndarray, "h w 3"]:
        return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=WHITE)

    return np.concatenate([widened(first), gap, widened(second)])
