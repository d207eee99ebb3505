"""Random rectangles within an image: what a crop keeps, and what erasing takes away."""

import math
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.config import Range
from cnn_jax.data.augment.chance import between

ATTEMPTS = 10
"""Rectangles that are drawn until one fits into the image; torchvision's number."""

WINDOW_DRAWS = 2 * ATTEMPTS + 2
"""Uniform numbers that a rectangle takes."""


class Window(NamedTuple):
    """A rectangle: its edges in pixels, from the upper left corner of the image; float32[] each."""

    top: Any
    left: Any
    height: Any
    width: Any
    fits: Any
    """bool[]: False where no attempt fitted into the image; then it means nothing."""


def draw_window(draws: Any, height: Any, width: Any, area: Range, ratio: Range, xp: Any) -> Window:
    """A rectangle with a uniform share of the area, a log-uniform width over height, and any place in the image.

    Args:
        draws: float32[WINDOW_DRAWS] in [0, 1).
        height: of the image.
        width: of the image.
        area: least and greatest share of the image's area.
        ratio: least and greatest width over height.
        xp: `tensorflow` or `jax.numpy`.
    """
    shares = between(draws[:ATTEMPTS], *area) * height * width
    least, greatest = (math.log(end) for end in ratio)
    ratios = xp.exp(between(draws[ATTEMPTS : 2 * ATTEMPTS], least, greatest))
    heights, widths = xp.sqrt(shares / ratios), xp.sqrt(shares * ratios)
    fitting = (heights <= height) & (widths <= width)
    first = xp.argmax(xp.where(fitting, 1, 0))  # the first of those that fit, and the very first where none does
    tall, wide = heights[first], widths[first]
    top, left = draws[-2] * (height - tall), draws[-1] * (width - wide)
    return Window(top, left, tall, wide, fitting[first])


def covers(window: Window, height: int, width: int) -> Any:
    """bool[height, width]: the pixels of an image whose centres lie within."""
    rows, columns = _covered(window.top, window.height, height), _covered(window.left, window.width, width)
    return rows[:, None] & columns


def _covered(begin: Any, length: Any, extent: int) -> Any:
    """bool[extent]"""
    centres = np.arange(extent, dtype=np.float32) + 0.5
    return (begin <= centres) & (begin + length > centres)
