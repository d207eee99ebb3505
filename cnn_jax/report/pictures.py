"""Photographs of a split as pictures for the page, as the network sees them."""

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from cnn_jax import html
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import evaluation_batches

BATCH = 32
SMALL = 64
"""Pixels below which a picture is kept without loss and shown with its pixels enlarged."""


@dataclass(frozen=True)
class Picture:
    """An embedded picture."""

    address: str
    """A data: address."""
    enlarged: bool
    """Whether it has so few pixels that they are to be seen."""


def picture(pixels: np.ndarray, longest_side: int) -> Picture:
    """uint8[h, w, 3] as a picture, scaled down to `longest_side` pixels."""
    if max(pixels.shape[:2]) < SMALL:
        return Picture(html.drawing(pixels), True)
    return Picture(html.photograph(pixels, longest_side), False)


def load(examples: Split, indices: Sequence[int], resize: Resize) -> Generator[np.ndarray, None, None]:
    """The images at these places of the split, in this order, each uint8[s, s, 3]."""
    if not len(indices):
        return
    batches = evaluation_batches(examples.take(indices), resize, min(BATCH, len(indices)))
    with contextlib.closing(batches):
        for batch in batches:
            yield from batch["image"][batch["mask"]]
