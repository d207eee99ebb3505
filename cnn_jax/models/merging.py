"""Layers that make one array of several, each named after the Keras layer that does the same."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.models.layers import Merge


class Multiply(Merge):
    """The product: a squeeze-and-excitation block multiplies maps [b, h, w, c] by factors [b, 1, 1, c]."""

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        return functools.reduce(jnp.multiply, others, x)


class Subtract(Merge):
    """The first without the second."""

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        (other,) = others
        return x - other


class Average(Merge):
    """The mean."""

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        return sum(others, start=x) / (1 + len(others))


class Maximum(Merge):
    """The largest."""

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        return functools.reduce(jnp.maximum, others, x)


class Minimum(Merge):
    """The smallest."""

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        return functools.reduce(jnp.minimum, others, x)


class Concatenate(Merge):
    """One behind the other along an axis, the batch counted; -1 is that of the channels."""

    axis: int = -1

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        return jnp.concatenate([x, *others], self.axis)


class ScaledAdd(Merge):
    """The first and `scale` times the second: the residual connection of Inception-ResNet (arXiv:1602.07261, 3.3)."""

    scale: float

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        (other,) = others
        return x + other * self.scale
