"""Layers that scale and shift values: by constants, by kept statistics, by what they find in each example."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.models.layers import SHAPE_ONLY, Layer
from cnn_jax.models.ops.rectifier import rectify

LEAST_DEVIATION = 1e-7
"""`keras.config.epsilon()`: what `Normalization` divides by at least."""


class Rescale(Layer):
    """`x * scale + offset`, each a number or one for each channel."""

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)

    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b *size c"]:
        return x * jnp.array(self.scale, x.dtype) + jnp.array(self.offset, x.dtype)


class Normalise(Layer):
    """Without the mean, by the deviation, as they were found before training.

    They are constants of the layer or, where it has none, its statistics `mean` and `var`: float32[c], or one number.
    """

    mean: tuple[float, ...] | None = None
    var: tuple[float, ...] | None = None
    by_channel: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b *size c"]:
        shape = (x.shape[-1],) if self.by_channel else ()
        if self.mean is None or self.var is None:
            mean, var = (self.variable("batch_stats", name, jnp.zeros, shape).value for name in ("mean", "var"))
        else:
            mean, var = jnp.array(self.mean), jnp.array(self.var)
        return ((x - mean) / jnp.maximum(jnp.sqrt(var), LEAST_DEVIATION)).astype(x.dtype)


class LayerNorm(Layer):
    """Each example's channels at each place without their mean, by their deviation; `scale` and `bias` float[c]."""

    epsilon: float = 1e-3
    use_scale: bool = True
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b *size c"]:
        values = x.astype(jnp.float32)
        mean, var = values.mean(-1, keepdims=True), values.var(-1, keepdims=True)
        y = (values - mean) * lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            y *= self.param("scale", SHAPE_ONLY, x.shape[-1:])
        if self.use_bias:
            y += self.param("bias", SHAPE_ONLY, x.shape[-1:])
        return y.astype(x.dtype)


class ChannelScale(Layer):
    """Each channel by a factor that trains, `scale` float[c]: ConvNeXt's LayerScale."""

    @nn.compact
    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b *size c"]:
        return x * self.param("scale", SHAPE_ONLY, x.shape[-1:]).astype(x.dtype)


class BoundedRelu(Layer):
    """`x` from `threshold` up to `highest`; below it `slope * (x - threshold)`."""

    highest: float | None = None
    slope: float = 0.0
    threshold: float = 0.0

    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b *size c"]:
        below = self.slope * (x - self.threshold)
        y = jnp.where(x > self.threshold if self.threshold else x > 0, x, below)
        return y if self.highest is None else jnp.minimum(y, self.highest)


class ParametricRelu(Layer):
    """`x` above 0, `slope * x` below it; `slope` trains, and has size 1 on the axes that it is `shared` along."""

    shared: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b *size c"]:
        shape = tuple(1 if axis in self.shared else size for axis, size in enumerate(x.shape[1:], start=1))
        slope = self.param("slope", SHAPE_ONLY, shape).astype(x.dtype)
        return rectify(x, "relu") - slope * rectify(-x, "relu")


class Elu(Layer):
    """`x` above 0, `factor * (exp(x) - 1)` below it."""

    factor: float = 1.0

    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b *size c"]:
        return jax.nn.elu(x, self.factor)
