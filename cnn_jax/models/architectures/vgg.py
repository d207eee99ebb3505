"""VGG (Simonyan and Zisserman, 2014, arXiv:1409.1556), with layer names and arithmetic as in Keras Applications."""

from collections.abc import Sequence

from cnn_jax.models.layers import Conv, Dense, Flatten, Layer, MaxPool

WIDTHS = (64, 128, 256, 512, 512)
"""Output channels of the convolutions in the blocks 1 to 5 (table 1 of the paper)."""
VGG16_DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions in each block: configuration D of the paper."""
VGG19_DEPTHS = (2, 2, 4, 4, 4)
"""Configuration E of the paper."""
FC_WIDTH = 4096


def body(depths: Sequence[int]) -> tuple[Layer, ...]:
    """The convolutions and poolings up to `block5_pool`: float[b, h, w, 3] to float[b, h // 32, w // 32, 512]."""
    layers: list[Layer] = []
    for block, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), start=1):
        layers += [Conv(width, activation="relu", name=f"block{block}_conv{i}") for i in range(1, depth + 1)]
        layers.append(MaxPool(name=f"block{block}_pool"))
    return tuple(layers)


def fully_connected() -> tuple[Layer, ...]:
    """`flatten`, `fc1` and `fc2`: to float[b, 4096]. Keras' VGG has no dropout between them."""
    return (
        Flatten(name="flatten"),
        Dense(FC_WIDTH, "relu", name="fc1"),
        Dense(FC_WIDTH, "relu", name="fc2"),
    )


def top(classes: int) -> tuple[Layer, ...]:
    """Keras' classifier, as logits float[b, classes]."""
    return (*fully_connected(), Dense(classes, name="predictions"))
