"""MobileNet v1 (Howard et al., 2017, arXiv:1704.04861), with layer names and arithmetic as in Keras Applications."""

from cnn_jax.models.layers import (
    Activation,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    ZeroPad,
)

BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
"""(output channels at alpha 1, stride of the depthwise convolution) of the blocks 1 to 13 (table 1 of the paper)."""

STRIDE_2_PADS = ((0, 1), (0, 1))
"""Keras pads before a depthwise convolution of stride 2 at the end only; "SAME" would differ for odd sizes."""

DROPOUT = 1e-3
"""Keras' dropout before the classifier."""


def body(alpha: float) -> tuple[Layer, ...]:
    """The layers up to `conv_pw_13_relu`: float[b, h, w, 3] to float[b, h/32, w/32, int(1024 * alpha)]."""
    layers: list[Layer] = [
        Conv(int(32 * alpha), (3, 3), strides=(2, 2), use_bias=False, name="conv1"),
        BatchNorm(name="conv1_bn"),
        Activation("relu6", name="conv1_relu"),
    ]
    for number, (channels, stride) in enumerate(BLOCKS, start=1):
        layers += _block(number, int(channels * alpha), stride)
    return tuple(layers)


def _block(number: int, channels: int, stride: int) -> list[Layer]:
    """A depthwise and a pointwise convolution, each with batch normalisation and ReLU6."""
    pad: list[Layer] = [ZeroPad(STRIDE_2_PADS, name=f"conv_pad_{number}")] if stride == 2 else []
    depthwise = DepthwiseConv(
        strides=(stride, stride), padding="SAME" if stride == 1 else "VALID", name=f"conv_dw_{number}"
    )
    return [
        *pad,
        depthwise,
        BatchNorm(name=f"conv_dw_{number}_bn"),
        Activation("relu6", name=f"conv_dw_{number}_relu"),
        Conv(channels, (1, 1), use_bias=False, name=f"conv_pw_{number}"),
        BatchNorm(name=f"conv_pw_{number}_bn"),
        Activation("relu6", name=f"conv_pw_{number}_relu"),
    ]


def top(classes: int) -> tuple[Layer, ...]:
    """Keras' classifier: the 1x1 convolution `conv_preds` over the pooled features, as logits float[b, classes]."""
    return (
        GlobalAveragePool(keep_size=True, name="global_average_pooling2d"),
        Dropout(DROPOUT, name="dropout"),
        Conv(classes, (1, 1), name="conv_preds"),
        Flatten(name="reshape_2"),
    )
