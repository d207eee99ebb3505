"""Layers that move values around: they leave them as they are, or repeat some."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.models.layers import Layer
from cnn_jax.models.ops.shifts import Pads


class Crop(Layer):
    """Without rows and columns at the sides: ((top, bottom), (left, right))."""

    sides: Pads

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b oh ow c"]:
        (top, bottom), (left, right) = self.sides
        return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


class Upsample(Layer):
    """Each pixel `size` times, rows and columns; or between the pixels by `bilinear` interpolation."""

    size: tuple[int, int] = (2, 2)
    bilinear: bool = False

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b oh ow c"]:
        rows, columns = self.size
        if self.bilinear:
            shape = (len(x), x.shape[1] * rows, x.shape[2] * columns, x.shape[3])
            return jax.image.resize(x, shape, "bilinear").astype(x.dtype)
        return jnp.repeat(jnp.repeat(x, rows, axis=1), columns, axis=2)


class Reshape(Layer):
    """The same values, by rows, in another shape; -1 stands for what is left. The batch is not counted."""

    shape: tuple[int, ...]

    def __call__(self, x: Float[Array, "b ..."], train: bool) -> Float[Array, "b ..."]:
        return x.reshape(len(x), *self.shape)


class Permute(Layer):
    """The axes in another order, counted from 1 after the batch, as in Keras."""

    axes: tuple[int, ...]

    def __call__(self, x: Float[Array, "b ..."], train: bool) -> Float[Array, "b ..."]:
        return x.transpose(0, *self.axes)
