"""A convolution as a sum over its taps: the parts of a padded input that each position of the kernel meets.

XLA:CPU fuses such a sum of shifted multiply-adds into one pass over the output, vectorised over the channels.
"""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns added before and after: ((top, bottom), (left, right))."""


def explicit_pads(size: Sequence[int], kernel_size: Sequence[int], strides: Sequence[int], padding: str | Pads) -> Pads:
    """`padding` as numbers, for an input of `size` (rows, columns)."""
    if not isinstance(padding, str):
        return padding
    (top, bottom), (left, right) = lax.padtype_to_pads(size, kernel_size[:2], strides, padding)
    return (top, bottom), (left, right)


def taps(
    padded: Float[Array, "b h w c"], kernel_size: Sequence[int], strides: tuple[int, int], out_size: Sequence[int]
) -> Iterator[tuple[int, int, Float[Array, "b oh ow c"]]]:
    """For each kernel position (i, j), the part of `padded` that it meets."""
    (rows, columns), (oh, ow) = strides, out_size
    height, width = (oh - 1) * rows + 1, (ow - 1) * columns + 1
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            yield i, j, padded[:, i : i + height : rows, j : j + width : columns]


def pad(images: Float[Array, "b h w c"], pads: Pads) -> Float[Array, "b oh ow c"]:
    """Zeros around the image; negative pads crop."""
    return lax.pad(images, jnp.zeros((), images.dtype), ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)))


def output_size(
    padded: Float[Array, "b h w c"], kernel: Float[Array, "kh kw in f"], strides: tuple[int, int]
) -> tuple[int, int]:
    """Rows and columns of the output."""
    rows, columns = ((padded.shape[1 + a] - kernel.shape[a]) // strides[a] + 1 for a in range(2))
    return rows, columns


def accumulation_dtype(images: Float[Array, "..."]) -> jnp.dtype:
    """Float32, or wider where the images are."""
    return jnp.promote_types(images.dtype, jnp.float32)
