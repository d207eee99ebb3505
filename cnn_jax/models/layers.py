"""The layers that models are made of: Flax modules named after the Keras layers whose weights they take.

Every layer is called with `train`: whether it runs as in training (batch statistics, dropout) or as in inference.
Layers without such a difference ignore it. Images are float[b, h, w, c] throughout.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.batch_norm import batch_norm_inference, batch_norm_training, inference_factor
from cnn_jax.models.convolution import conv
from cnn_jax.models.depthwise import depthwise_conv
from cnn_jax.models.pooling import max_pool
from cnn_jax.models.rectifier import Rectifier, rectify
from cnn_jax.models.shifts import Pads, explicit_pads

_SHAPE_ONLY = nn.initializers.zeros
"""Values come from `initializers`, see `Model.init`."""


class Layer(nn.Module):
    """A named link of a chain: one array in, one array out."""

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        raise NotImplementedError


class Conv(Layer):
    """Convolution; parameters `kernel` float[kh, kw, in, features] and, with `use_bias`, `bias` float[features].

    Where a batch normalisation follows, the chain may pass its `factor`, float[features], for the kernel.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: str | Pads = "SAME"
    use_bias: bool = True
    activation: Rectifier | None = None

    @property
    def is_linear(self) -> bool:
        """Whether a factor of the output can go into the kernel."""
        return not self.use_bias and self.activation is None

    def channels(self, x: jax.Array) -> int:
        """Of the output."""
        return self.features

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, factor: jax.Array | None = None) -> jax.Array:
        kernel = self.param("kernel", _SHAPE_ONLY, (*self.kernel_size, x.shape[-1], self.features))
        kernel = kernel if factor is None else kernel * factor
        y = conv(x, kernel.astype(x.dtype), self.strides, self.padding)
        if self.use_bias:
            y += self.param("bias", _SHAPE_ONLY, (self.features,)).astype(x.dtype)
        return rectify(y, self.activation)


class DepthwiseConv(Layer):
    """One filter a channel, no bias; parameter `kernel` float[kh, kw, 1, c], and `factor` as for `Conv`."""

    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: str | Pads = "SAME"
    is_linear = True

    def channels(self, x: jax.Array) -> int:
        """Of the output."""
        return x.shape[-1]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, factor: jax.Array | None = None) -> jax.Array:
        kernel = self.param("kernel", _SHAPE_ONLY, (*self.kernel_size, 1, x.shape[-1]))
        kernel = kernel if factor is None else kernel * factor
        return depthwise_conv(x, kernel.astype(x.dtype), self.strides, self.padding)


class BatchNorm(Layer):
    """Batch normalisation as in Keras: statistics over b, h, w; biased variance in the moving average too.

    Parameters `scale` (Keras' gamma) and `bias` (beta), statistics `mean` and `var`, each float32[c].
    The chain passes the `activation` of a rectifier that follows, so that both run, and differentiate, in one pass. In
    inference it may give the `factor` to the convolution before; what is left to do then is `folded`.
    """

    epsilon: float = 1e-3
    momentum: float = 0.99

    @nn.compact
    def _leaves(self, channels: int) -> tuple[jax.Array, jax.Array, nn.Variable, nn.Variable]:
        scale, bias = (self.param(name, _SHAPE_ONLY, (channels,)) for name in ("scale", "bias"))
        mean, var = (self.variable("batch_stats", name, jnp.zeros, (channels,)) for name in ("mean", "var"))
        return scale, bias, mean, var

    def __call__(
        self, x: jax.Array, train: bool, activation: Rectifier | None = None, folded: bool = False
    ) -> jax.Array:
        scale, bias, mean, var = self._leaves(x.shape[-1])
        if not train:
            return batch_norm_inference(x, scale, bias, mean.value, var.value, self.epsilon, activation, folded)
        y, batch_mean, batch_var = batch_norm_training(x, scale, bias, mean.value, self.epsilon, activation)
        if not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        return y

    def factor(self, channels: int) -> jax.Array:
        """What inference multiplies each channel by: float[channels]."""
        scale, _, _, var = self._leaves(channels)
        return inference_factor(scale, var.value, self.epsilon)


class Activation(Layer):
    """A rectifier: `max(x, 0)` ("relu") or `min(max(x, 0), 6)` ("relu6")."""

    kind: Rectifier = "relu"

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return rectify(x, self.kind)


class ZeroPad(Layer):
    """Rows and columns of zeros around the image; "SAME": as many as a 3x3 convolution of stride 2 would add."""

    pads: Literal["SAME"] | Pads = ((0, 1), (0, 1))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return jnp.pad(x, ((0, 0), *explicit_pads(x.shape[1:3], (3, 3), (2, 2), self.pads), (0, 0)))


class Add(Layer):
    """The sum of its input and the output of an earlier layer, `source`, which the chain passes as `other`."""

    source: str

    def __call__(self, x: jax.Array, train: bool, other: jax.Array | None = None) -> jax.Array:
        assert other is not None, "only a chain knows the output of the source"
        return x + other


class MaxPool(Layer):
    """The maximum of each window."""

    pool_size: tuple[int, int] = (2, 2)
    strides: tuple[int, int] = (2, 2)
    padding: str = "VALID"

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return max_pool(x, self.pool_size, self.strides, self.padding)


class GlobalAveragePool(Layer):
    """The mean over rows and columns: float[b, c], or float[b, 1, 1, c] with `keep_size`."""

    keep_size: bool = False

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return x.mean(axis=(1, 2), keepdims=self.keep_size)


class Flatten(Layer):
    """Each example as one vector, in the order row, column, channel."""

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return x.reshape(x.shape[0], -1)


class Dense(Layer):
    """`x @ kernel + bias`; parameters `kernel` float[in, features] and `bias` float[features]."""

    features: int
    activation: Rectifier | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        kernel = self.param("kernel", _SHAPE_ONLY, (x.shape[-1], self.features))
        bias = self.param("bias", _SHAPE_ONLY, (self.features,))
        y = x @ kernel.astype(x.dtype) + bias.astype(x.dtype)
        return rectify(y, self.activation)


class Dropout(Layer):
    """In training, zeroes each value with probability `rate` and scales the rest by 1 / (1 - rate)."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.Dropout(self.rate, deterministic=not train)(x)
