"""Photographs of a split as pictures for the page, as the network sees them."""

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cnn_jax import html
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Split
from cnn_jax.errors import DataError

SMALL = 64
"""Pixels below which a picture is kept without loss and shown with its pixels enlarged."""


@dataclass(frozen=True)
class Picture:
    """An embedded picture."""

    address: str
    """A data: address."""
    enlarged: bool
    """Whether it has so few pixels that they are to be seen."""


def picture(pixels: UInt8[np.ndarray, "h w 3"], longest_side: int) -> Picture:
    """An embedded picture, scaled down to `longest_side` pixels."""
    if max(pixels.shape[:2]) < SMALL:
        return Picture(html.drawing(pixels), True)
    return Picture(html.photograph(pixels, longest_side), False)


def load(examples: Split, indices: Sequence[int], resize: Resize) -> Generator[UInt8[np.ndarray, "h w 3"], None, None]:
    """The images at these places of the split, in this order.

    Close it, to stop the threads that read.

    Raises:
        DataError: an image can no longer be read.
    """

    def load_one(index: int) -> UInt8[np.ndarray, "h w 3"]:
        try:
            return resize.array(examples.images.array(index))
        except DataError as error:
            raise DataError(f"{examples.ids[index]} cannot be read as an image: {error}") from error

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield from pool.map(load_one, indices)
    finally:
        pool.shutdown(cancel_futures=True)
