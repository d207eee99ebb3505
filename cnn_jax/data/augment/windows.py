"""Random rectangles within an image: what a crop keeps, and what erasing takes away."""

from typing import Any, NamedTuple

from cnn_jax.config import Range
from cnn_jax.data.augment.chance import between
from cnn_jax.data.tensorflow import tf

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


def draw_window(draws: Any, height: Any, width: Any, area: Range, ratio: Range) -> Window:
    """A rectangle with a uniform share of the area, a log-uniform width over height, and any place in the image.

    Args:
        draws: float32[WINDOW_DRAWS] in [0, 1).
        height: of the image.
        width: of the image.
        area: least and greatest share of the image's area.
        ratio: least and greatest width over height.
    """
    shares = between(draws[:ATTEMPTS], *area) * height * width
    least, greatest = tf().unstack(tf().math.log(tf().constant(ratio, tf().float32)))
    ratios = tf().exp(between(draws[ATTEMPTS : 2 * ATTEMPTS], least, greatest))
    heights, widths = tf().sqrt(shares / ratios), tf().sqrt(shares * ratios)
    fitting = (heights <= height) & (widths <= width)
    first = tf().argmax(tf().cast(fitting, tf().int32))
    tall, wide = heights[first], widths[first]
    top, left = draws[-2] * (height - tall), draws[-1] * (width - wide)
    return Window(top, left, tall, wide, tf().reduce_any(fitting))
