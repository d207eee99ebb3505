"""Write LiteRT files with TensorFlow's converter, in the process of `worker`."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def write(model: Any, path: Path, half: bool = False) -> None:
    """Write the model for one image at a time, uint8[1, s, s, 3]: what phones and their accelerators take.

    Args:
        half: keep the weights in float16.
    """
    import tensorflow as tf

    converter = None
    with tempfile.TemporaryDirectory() as folder:
        converter = _converter(model, Path(folder) / "model")
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())


def write_int8(model: Any, path: Path, calibration: Path) -> None:
    """Write the model with int8 weights, one scale a channel, and int8 activations, whose ranges these images have.

    Args:
        calibration: an .npy file of images uint8[n, s, s, 3].
    """
    import tensorflow as tf

    images = np.load(calibration, mmap_mode="r")

    def examples() -> Any:
        for image in images:
            example = image[None].astype(np.float32)
            # so that the scale of the input is 1, and its bytes are those of the picture
            example[0, 0, 0], example[0, -1, -1] = 0.0, 255.0
            yield [example]

    with tempfile.TemporaryDirectory() as folder:
        converter = _converter(model, Path(folder) / "model", "float32")
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        path.write_bytes(converter.convert())


def _converter(model: Any, folder: Path, dtype: str = "uint8") -> Any:
    import tensorflow as tf

    from cnn_jax.exporting.tensorflow_functions import write_saved_model

    write_saved_model(model, folder, batch=1, dtype=dtype)
    return tf.lite.TFLiteConverter.from_saved_model(str(folder))
