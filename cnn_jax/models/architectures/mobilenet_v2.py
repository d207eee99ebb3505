"""MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381), with layer names and arithmetic as in Keras Applications."""

from collections.abc import Iterator

from cnn_jax.models.layers import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAveragePool,
    Layer,
    ZeroPad,
)

BLOCKS = (
    (16, 1),
    *((24, stride) for stride in (2, 1)),
    *((32, stride) for stride in (2, 1, 1)),
    *((64, stride) for stride in (2, 1, 1, 1)),
    *((96, stride) for stride in (1, 1, 1)),
    *((160, stride) for stride in (2, 1, 1)),
    (320, 1),
)
"""(output channels at alpha 1, stride of the depthwise convolution) of the blocks 0 to 16 (table 2 of the paper)."""

EXPANSION = 6
"""Channels inside a block for each channel that enters it; the first block does not expand."""
LAST_CHANNELS = 1280
MOMENTUM = 0.999
"""Of the moving averages; Keras' default is 0.99."""


def body(alpha: float) -> tuple[Layer, ...]:
    """The layers up to `out_relu`: float[b, h, w, 3] to float[b, ceil(h / 32), ceil(w / 32), c], c at least 1280."""
    channels = divisible(32 * alpha)
    layers: list[Layer] = [
        Conv(channels, (3, 3), strides=(2, 2), use_bias=False, name="Conv1"),
        BatchNorm(momentum=MOMENTUM, name="bn_Conv1"),
        Activation("relu6", name="Conv1_relu"),
    ]
    for number, (width, stride) in enumerate(BLOCKS):
        features = divisible(int(width * alpha))
        layers += _block(number, channels, features, stride, source=str(layers[-1].name))
        channels = features
    return (
        *layers,
        Conv(divisible(LAST_CHANNELS * max(alpha, 1.0)), (1, 1), use_bias=False, name="Conv_1"),
        BatchNorm(momentum=MOMENTUM, name="Conv_1_bn"),
        Activation("relu6", name="out_relu"),
    )


def _block(number: int, channels: int, features: int, stride: int, source: str) -> Iterator[Layer]:
    """An inverted residual: expand, filter each channel, project; where the shapes agree, add what came in."""
    prefix = f"block_{number}" if number else "expanded_conv"
    if number:
        yield Conv(EXPANSION * channels, (1, 1), use_bias=False, name=f"{prefix}_expand")
        yield BatchNorm(momentum=MOMENTUM, name=f"{prefix}_expand_BN")
        yield Activation("relu6", name=f"{prefix}_expand_relu")
    if stride == 2:
        yield ZeroPad("SAME", name=f"{prefix}_pad")
    yield DepthwiseConv(
        strides=(stride, stride), padding="SAME" if stride == 1 else "VALID", name=f"{prefix}_depthwise"
    )
    yield BatchNorm(momentum=MOMENTUM, name=f"{prefix}_depthwise_BN")
    yield Activation("relu6", name=f"{prefix}_depthwise_relu")
    yield Conv(features, (1, 1), use_bias=False, name=f"{prefix}_project")
    yield BatchNorm(momentum=MOMENTUM, name=f"{prefix}_project_BN")
    if channels == features and stride == 1:
        yield Add(inputs=(source, f"{prefix}_project_BN"), name=f"{prefix}_add")


def top(classes: int) -> tuple[Layer, ...]:
    """Keras' classifier over the pooled features, as logits float[b, classes]."""
    return GlobalAveragePool(name="global_average_pooling2d"), Dense(classes, name="predictions")


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of `by`, at least `by`, and not less than nine tenths of `channels`."""
    nearest = max(by, int(channels + by / 2) // by * by)
    return nearest + by if nearest < 0.9 * channels else nearest
