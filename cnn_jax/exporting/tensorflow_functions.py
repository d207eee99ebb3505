"""A Keras model as a function of TensorFlow that takes bytes."""

from pathlib import Path
from typing import Any

from cnn_jax.exporting.onnx import INPUT, OUTPUT

LUMA = (19595.0, 38470.0, 7471.0)
"""0.299, 0.587 and 0.114 of 2**16, as in `cnn_jax.models.normalisation.grey`."""


def classify(model: Any, batch: int | None, dtype: str = "uint8") -> Any:
    """The `tf.function` from images [b, h, w, 3] of 0 to 255 to probabilities [b, classes].

    A model that takes grey images is given them: the luma, rounded as in training.

    Args:
        batch: b; None is any number.
        dtype: of the images.
    """
    import tensorflow as tf

    height, width, channels = map(int, model.inputs[0].shape[1:])

    def function(images: Any) -> dict[str, Any]:
        inputs = tf.cast(images, tf.float32)
        if channels == 1:
            luma = tf.reduce_sum(inputs * tf.constant(LUMA), axis=-1, keepdims=True)
            inputs = tf.floor((luma + 2.0**15) / 2.0**16)  # exact: the sums are below 2**24
        return {OUTPUT: model(inputs, training=False)}

    specification = tf.TensorSpec((batch, height, width, 3), tf.dtypes.as_dtype(dtype), INPUT)
    return tf.function(function, input_signature=[specification])


def write_saved_model(model: Any, folder: Path, batch: int | None, dtype: str = "uint8") -> None:
    """Write it as a SavedModel whose function is called `serve`."""
    import keras

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", classify(model, batch, dtype))
    archive.write_out(str(folder), verbose=False)
