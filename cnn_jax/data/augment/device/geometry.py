"""Flips, rotation, shifts, shear and zoom as one resample, which takes four pixels of the image for one of the result.

The arithmetic that leads from random numbers to positions in the image is `cnn_jax.data.augment.geometry`'s.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32, UInt8

from cnn_jax.config import AugmentConfig, FillMode
from cnn_jax.data.augment.device.pixels import to_uint8
from cnn_jax.data.augment.geometry import flipped, positions, transform_vector, within
from cnn_jax.runtime.compiling import materialized


def move(image: UInt8[Array, "h w 3"], draws: Float32[Array, " draws"], config: AugmentConfig) -> UInt8[Array, "h w 3"]:
    """The image, moved as `DRAWS` random numbers say."""
    if not config.resamples:
        return flipped(image, draws, config, jnp)
    height, width = image.shape[:2]
    transform = transform_vector(draws, config, height, width, jnp)
    return resample(image, transform, config.fill_mode, config.fill_value)


def resample(
    image: UInt8[Array, "h w 3"], transform: Float32[Array, " _"], fill_mode: FillMode, fill_value: float
) -> UInt8[Array, "h w 3"]:
    """Bilinear, with the fill modes of SciPy; `transform` as `transform_vector` gives it, or its first six numbers."""
    height, width = image.shape[:2]
    columns, rows = positions(transform, (height, width))
    left, right, along = _neighbours(columns, width, fill_mode)
    upper, lower, down = _neighbours(rows, height, fill_mode)
    flat = image.reshape(-1, 3)

    def row(index: Int32[Array, "h w"]) -> Float32[Array, "h w 3"]:
        first, second = (
            flat.at[index * width + column].get(mode="promise_in_bounds").astype(jnp.float32)
            for column in (left, right)
        )
        return first + along * (second - first)

    above, below = row(upper), row(lower)
    moved = above + down * (below - above)
    if fill_mode == "constant":
        inside = within(columns, width - 1) & within(rows, height - 1)
        moved = jnp.where(inside[..., None], moved, fill_value)
    return materialized(to_uint8(moved))


def _neighbours(
    position: Float32[Array, "h w"], extent: int, fill_mode: FillMode
) -> tuple[Int32[Array, "h w"], Int32[Array, "h w"], Float32[Array, "h w 1"]]:
    """The pixels before and after a position, and the share of the second."""
    position = jnp.clip(_brought_inside(position, extent, fill_mode), 0, extent - 1)
    before = jnp.floor(position)
    first = before.astype(jnp.int32)
    return first, jnp.minimum(first + 1, extent - 1), (position - before)[..., None]


def _brought_inside(position: Float32[Array, "h w"], extent: int, fill_mode: FillMode) -> Float32[Array, "h w"]:
    """What stands for a position outside of the image; less than a pixel is left over, which is for the rim itself."""
    if fill_mode == "reflect":  # in the edges of the outermost pixels, again and again
        folded = jnp.mod(position + 0.5, 2 * extent)
        return jnp.minimum(folded, 2 * extent - folded) - 0.5
    if fill_mode == "wrap":  # with a period of one pixel less than the size, as SciPy
        last = extent - 1
        beyond = jnp.mod(jnp.abs(position), max(last, 1))
        return jnp.where(within(position, last), position, jnp.where(position < 0, last - beyond, beyond))
    return position
