"""The layers that models are made of: Flax modules named after the Keras layers whose weights they take.

Every layer is called with `train`: whether it runs as in training (batch statistics, dropout) or as in inference.
Layers without such a difference ignore it.
"""

import math
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.models.ops.activations import RECTIFIERS, ActivationKind, activate
from cnn_jax.models.ops.batch_norm import batch_norm_inference, batch_norm_training, inference_factor
from cnn_jax.models.ops.convolution import conv
from cnn_jax.models.ops.depthwise import depthwise_conv
from cnn_jax.models.ops.pooling import max_pool
from cnn_jax.models.ops.rectifier import Rectifier
from cnn_jax.models.ops.rounding import fake_quantize_kernel
from cnn_jax.models.ops.shifts import Pads, explicit_pads
from cnn_jax.runtime.compiling import materialized

SHAPE_ONLY = nn.initializers.zeros
"""Values come from `initializers`, see `Model.init`."""


IMAGES = "(images)"
"""What a layer names in its `inputs` where it takes the input of the whole chain."""


class Layer(nn.Module, kw_only=True):  # type: ignore[call-arg]
    """A named link of a chain: the output of the layer before in, one array out."""

    inputs: tuple[str, ...] = ()
    """The earlier layers whose outputs it takes; empty: the layer before."""

    @property
    def is_random(self) -> bool:
        """Whether it depends on chance in training."""
        return False

    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b ..."]:
        raise NotImplementedError


class Conv(Layer):
    """Convolution; parameters `kernel` float[kh, kw, in, features] and, with `use_bias`, `bias` float[features].

    Where a batch normalisation follows, the chain may pass its `factor` for the kernel, if it `takes_factor`. With
    `groups`, each of so many equal parts of the input's channels gives an equal part of the output's, and `in` is the
    size of such a part. `dilation` is the step between the inputs that neighbouring weights meet.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: str | Pads = "SAME"
    use_bias: bool = True
    activation: ActivationKind | None = None
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    rounds_kernel: bool = False
    """Give the kernel the values of int8, see `quantization`."""

    def takes_factor(self, shape: tuple[int, ...]) -> bool:
        """Whether the kernel is to take a factor of the output, for inputs of this shape."""
        return _takes_factor(self, shape, math.prod(self.kernel_size) * shape[-1] // self.groups)

    def channels(self, x: Float[Array, "b h w c"]) -> int:
        """Of the output."""
        return self.features

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, factor: Float[Array, " f"] | None = None
    ) -> Float[Array, "b oh ow f"]:
        kernel = self.param("kernel", SHAPE_ONLY, (*self.kernel_size, x.shape[-1] // self.groups, self.features))
        kernel = kernel if factor is None else kernel * factor
        kernel = fake_quantize_kernel(kernel) if self.rounds_kernel else kernel
        y = conv(x, kernel.astype(x.dtype), self.strides, self.padding, self.dilation, self.groups)
        if self.use_bias:
            y += self.param("bias", SHAPE_ONLY, (self.features,)).astype(x.dtype)
        return activate(y, self.activation)


class DepthwiseConv(Layer):
    """`multiplier` filters a channel; parameter `kernel` float[kh, kw, 1, c * multiplier], the rest as for `Conv`."""

    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: str | Pads = "SAME"
    use_bias: bool = False
    activation: ActivationKind | None = None
    dilation: tuple[int, int] = (1, 1)
    multiplier: int = 1
    rounds_kernel: bool = False
    """As for `Conv`."""

    def takes_factor(self, shape: tuple[int, ...]) -> bool:
        """As for `Conv`."""
        return _takes_factor(self, shape, math.prod(self.kernel_size))

    def channels(self, x: Float[Array, "b h w c"]) -> int:
        """Of the output."""
        return x.shape[-1] * self.multiplier

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, factor: Float[Array, " f"] | None = None
    ) -> Float[Array, "b oh ow f"]:
        channels = self.channels(x)
        kernel = self.param("kernel", SHAPE_ONLY, (*self.kernel_size, 1, channels))
        kernel = kernel if factor is None else kernel * factor
        kernel = (fake_quantize_kernel(kernel) if self.rounds_kernel else kernel).astype(x.dtype)
        if self.multiplier == 1 and self.dilation == (1, 1):
            y = depthwise_conv(x, kernel, self.strides, self.padding)
        else:
            y = conv(x, kernel, self.strides, self.padding, self.dilation, groups=x.shape[-1])
        if self.use_bias:
            y += self.param("bias", SHAPE_ONLY, (channels,)).astype(x.dtype)
        return activate(y, self.activation)


def _takes_factor(layer: Conv | DepthwiseConv, shape: tuple[int, ...], terms: int) -> bool:
    """Whether nothing comes between kernel and factor, and the kernel is no larger than its output.

    The factor costs a pass over the kernel in each call; the pass over the output is made anyway, for the shift. A
    kernel that is rounded has to have it before.

    Args:
        terms: products in an output.
    """
    if layer.use_bias or layer.activation is not None:
        return False
    known = isinstance(shape[0], int)  # an export leaves the size of the batch open
    return layer.rounds_kernel or not known or math.prod(shape[:3]) >= terms * math.prod(layer.strides)


class BatchNorm(Layer):
    """Batch normalisation as in Keras: statistics over all axes but the last; the moving variance is biased too.

    Parameters `scale` (Keras' gamma) and `bias` (beta), where it has them, statistics `mean` and `var`, float32[c].
    The chain passes the `activation` of a rectifier that follows, so that both run, and differentiate, in one pass. In
    inference it may give the `factor` to the convolution before; what is left to do then is `folded`.
    """

    epsilon: float = 1e-3
    momentum: float = 0.99
    use_scale: bool = True
    use_bias: bool = True

    @nn.compact
    def _leaves(self, channels: int) -> tuple[Float[Array, " c"], Float[Array, " c"], nn.Variable, nn.Variable]:
        scale, bias = jnp.ones(channels), jnp.zeros(channels)
        if self.use_scale:
            scale = self.param("scale", SHAPE_ONLY, (channels,))
        if self.use_bias:
            bias = self.param("bias", SHAPE_ONLY, (channels,))
        mean, var = (self.variable("batch_stats", name, jnp.zeros, (channels,)) for name in ("mean", "var"))
        return scale, bias, mean, var

    def __call__(
        self, x: Float[Array, "b *size c"], train: bool, activation: Rectifier | None = None, folded: bool = False
    ) -> Float[Array, "b *size c"]:
        scale, bias, mean, var = self._leaves(x.shape[-1])
        if not train:
            return batch_norm_inference(x, scale, bias, mean.value, var.value, self.epsilon, activation, folded)
        maps = x if x.ndim == 4 else x.reshape(len(x), -1, 1, x.shape[-1])
        y, batch_mean, batch_var = batch_norm_training(maps, scale, bias, mean.value, self.epsilon, activation)
        if not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        return y.reshape(x.shape)

    def factor(self, channels: int) -> Float[Array, " c"]:
        """What inference multiplies each channel by."""
        scale, _, _, var = self._leaves(channels)
        return inference_factor(scale, var.value, self.epsilon)


class Activation(Layer):
    """A function of each value, such as `max(x, 0)` ("relu"); see `activations`."""

    kind: ActivationKind = "relu"

    @property
    def rectifier(self) -> Rectifier | None:
        """It, where a batch normalisation before it can take it over."""
        return next((kind for kind in RECTIFIERS if kind == self.kind), None)

    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        return activate(x, self.kind)


class Merge(Layer):
    """One array of those that it names as its `inputs`, whose axes of size 1 count as often as they have to."""

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        raise NotImplementedError


class Add(Merge):
    """The sum: a residual connection is `Add(inputs=("the layer before", "an earlier one"))`."""

    def __call__(self, x: Float[Array, "b ..."], train: bool, *others: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        return sum(others, start=x)


class ZeroPad(Layer):
    """Rows and columns of zeros around the image; "SAME": as many as a 3x3 convolution of stride 2 would add."""

    pads: Literal["SAME"] | Pads = ((0, 1), (0, 1))

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b oh ow c"]:
        return jnp.pad(x, ((0, 0), *explicit_pads(x.shape[1:3], (3, 3), (2, 2), self.pads), (0, 0)))


class Pool(Layer):
    """One value of each window."""

    pool_size: tuple[int, int] = (2, 2)
    strides: tuple[int, int] = (2, 2)
    padding: str = "VALID"


class MaxPool(Pool):
    """The maximum of each window."""

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b oh ow c"]:
        return max_pool(x, self.pool_size, self.strides, self.padding)


class AveragePool(Pool):
    """The mean of each window; what is padded does not count."""

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b oh ow c"]:
        return nn.avg_pool(x, self.pool_size, self.strides, self.padding, count_include_pad=False)


class GlobalPool(Layer):
    """One value of all rows and columns; with `keep_size`, they stay as axes of size 1."""

    keep_size: bool = False


class GlobalMaxPool(GlobalPool):
    """The maximum."""

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b ... c"]:
        return x.max(axis=(1, 2), keepdims=self.keep_size)


class GlobalAveragePool(GlobalPool):
    """The mean."""

    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b ... c"]:
        return x.mean(axis=(1, 2), keepdims=self.keep_size)


class Flatten(Layer):
    """Each example as one vector, in the order row, column, channel."""

    def __call__(self, x: Float[Array, "b ..."], train: bool) -> Float[Array, "b d"]:
        return x.reshape(x.shape[0], -1)


class Dense(Layer):
    """`x @ kernel + bias`; parameters `kernel` float[in, features] and `bias` float[features]."""

    features: int
    activation: ActivationKind | None = None
    use_bias: bool = True
    rounds_kernel: bool = False
    """As for `Conv`."""

    @nn.compact
    def __call__(self, x: Float[Array, "b *size c"], train: bool) -> Float[Array, "b *size f"]:
        kernel = self.param("kernel", SHAPE_ONLY, (x.shape[-1], self.features))
        x = materialized(x)  # with what is before it, XLA:CPU makes one operation that is ten times as slow
        y = x @ (fake_quantize_kernel(kernel) if self.rounds_kernel else kernel).astype(x.dtype)
        if self.use_bias:
            y += self.param("bias", SHAPE_ONLY, (self.features,)).astype(x.dtype)
        return activate(y, self.activation)


class Dropout(Layer):
    """In training, zeroes each value with probability `rate` and scales the rest by 1 / (1 - rate)."""

    rate: float

    @property
    def is_random(self) -> bool:
        """Unless it drops nothing."""
        return self.rate > 0

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        return nn.Dropout(self.rate, deterministic=not train)(x)
