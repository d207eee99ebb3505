"""From an image of any size to uint8[s, s, 3], inside a TensorFlow graph."""

from typing import Any

from cnn_jax.data.tensorflow import tf


def resize(image: Any, size: int) -> Any:
    """uint8[h, w, 1 or 3] to uint8[size, size, 3]: squashed, bilinear without antialiasing, as Keras' data sets do."""
    if image.shape == (size, size, 3):
        return image
    if image.shape[-1] == 1:
        image = tf().image.grayscale_to_rgb(image)
    resized = tf().image.resize(image, (size, size), method="bilinear")
    image = tf().cast(tf().clip_by_value(tf().round(resized), 0, 255), tf().uint8)
    return tf().ensure_shape(image, (size, size, 3))
