"""Layers that do nothing in inference, and in training what chance decides, with Keras' rules."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.models.layers import Layer


class Noise(Layer):
    """A layer with a `rate`; at 0 it does nothing in training either."""

    rate: float

    @property
    def is_random(self) -> bool:
        """Unless its rate is 0."""
        return self.rate > 0


class SpatialDropout(Noise):
    """In training, zeroes whole channels of an example, and scales the others by 1 / (1 - rate)."""

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        return nn.Dropout(self.rate, broadcast_dims=tuple(range(1, x.ndim - 1)), deterministic=not train)(x)


class ExampleDropout(Noise):
    """In training, zeroes whole examples, and scales the others by 1 / (1 - rate): stochastic depth."""

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        return nn.Dropout(self.rate, broadcast_dims=tuple(range(1, x.ndim)), deterministic=not train)(x)


class GaussianNoise(Noise):
    """In training, adds normal noise of the deviation `rate`."""

    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        if not train or not self.rate:
            return x
        return x + self.rate * jax.random.normal(self.make_rng("dropout"), x.shape, x.dtype)


class GaussianDropout(Noise):
    """In training, multiplies by normal noise around 1 of the deviation sqrt(rate / (1 - rate))."""

    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        if not train or not self.rate:
            return x
        deviation = jnp.sqrt(self.rate / (1 - self.rate)).astype(x.dtype)
        return x * (1 + deviation * jax.random.normal(self.make_rng("dropout"), x.shape, x.dtype))
