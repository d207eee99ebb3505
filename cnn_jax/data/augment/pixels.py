"""What the stages share: rounding, and grey."""

from typing import Any

from cnn_jax.io.tensorflow import tf

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R BT.601, as Pillow's mode L."""


def to_uint8(pixels: Any) -> Any:
    """Rounded to the nearest, within 0 to 255."""
    return tf().cast(tf().clip_by_value(tf().round(pixels), 0, 255), tf().uint8)


def grey(pixels: Any) -> Any:
    """float32[h, w, 3] to float32[h, w, 1]."""
    red, green, blue = (pixels[..., i : i + 1] for i in range(3))
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def mean_grey(image: Any) -> Any:
    """float32[]: of uint8[h, w, 3]. Whole numbers are summed, so that no order of the sum makes a difference."""
    sums = tf().reduce_sum(tf().cast(image, tf().int64), (0, 1))
    count = tf().cast(tf().size(image) // 3, tf().float64)
    means = tf().unstack(tf().cast(sums, tf().float64) / count)
    return tf().cast(sum(weight * mean for weight, mean in zip(LUMA, means, strict=True)), tf().float32)
