"""Inference in parts of a batch: on CPU the activations of a few images stay in the processor's cache.

MobileNet at 224 pixels spends a third of its time on activations that are larger than the cache. Image by image and
core, inference takes 0.8 of the time of a batch of 32 at once, and VGG16 0.9 (docs/performance.md).
"""

import math
import os
from collections.abc import Callable

import jax
from jax import lax
from jaxtyping import Array, Float, Num

from cnn_jax.config.image_size import ImageSize, sides

PIXELS = 224 * 224
"""Of the images that a core works on at once."""


def part_size(shape: tuple[int, ...], image_size: ImageSize | None = None) -> int:
    """How many of a batch of this shape to run at once: all, unless they are images, on a CPU that is one device.

    Args:
        image_size: of the images that the activations of this shape come from; None: the inputs' own size counts.
    """
    if len(shape) != 4 or not isinstance(shape[0], int):  # an export leaves the size of the batch open
        return shape[0]
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return shape[0]
    wanted = PIXELS * _cores() // math.prod(sides(image_size) if image_size else shape[1:3])
    fitting = max((size for size in range(1, min(wanted, shape[0]) + 1) if shape[0] % size == 0), default=1)
    return fitting if 2 * fitting > wanted else shape[0]


def in_parts(
    function: Callable[[Num[Array, "b ..."]], Float[Array, "b ..."]],
    inputs: Num[Array, "b ..."],
    image_size: ImageSize | None = None,
) -> Float[Array, "b ..."]:
    """`function(inputs)`, for a function that treats the examples one by one; `image_size` as for `part_size`."""
    size = part_size(inputs.shape, image_size)
    if size == inputs.shape[0]:
        return function(inputs)
    results = lax.map(function, inputs.reshape(-1, size, *inputs.shape[1:]))
    return results.reshape(-1, *results.shape[2:])


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
