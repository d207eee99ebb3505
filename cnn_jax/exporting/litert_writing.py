"""Write LiteRT files with TensorFlow's converter, in the process of `worker`."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.exporting.litert import MAGIC, layer_of

Ranges = dict[str, tuple[float, float]]
"""Layer, by Keras' name, to the least and the largest value of its output."""


def write(model: Any, path: Path, half: bool = False) -> None:
    """Write the model for one image at a time, uint8[1, h, w, 3]: what phones and their accelerators take.

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


def write_int8(model: Any, path: Path, calibration: Path, learned: Ranges) -> None:
    """Write the model with int8 weights, one scale a channel, and int8 activations.

    The softmax stays in float32: in int8, probabilities would be multiples of 1/256. What the converter's own flags
    do is done here in its two steps, measuring and rounding, with the learned ranges put in between.

    Args:
        calibration: an .npy file of images uint8[n, h, w, 3], on which the ranges of activations are measured.
        learned: layer to range, where training has found it.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    images = np.load(calibration, mmap_mode="r")

    def examples() -> Any:
        for image in images:
            example = image[None].astype(np.float32)
            # so that the scale of the input is 1, and its bytes are those of the picture
            example[0, 0, 0], example[0, -1, -1] = 0.0, 255.0
            yield [example]

    with tempfile.TemporaryDirectory() as folder:
        converter = _converter(_with_one_scaling(model), Path(folder) / "model", "float32")
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter._experimental_calibrate_only = True
        measured = _with_ranges(converter.convert(), learned)
    path.write_bytes(mlir_quantize(measured, input_data_type=tf.uint8, denylisted_ops={"SOFTMAX"}))


def _with_one_scaling(model: Any) -> Any:
    """The model with each `Rescaling` of images as a depthwise 1x1 convolution, which does it in one operation.

    In two, the converter gives the product a range that it shares with the offset, and 256 grey levels become 171.
    """
    import keras

    def scales(layer: Any) -> bool:
        return isinstance(layer, keras.layers.Rescaling) and len(layer.output.shape) == 4

    def replaced(layer: Any) -> Any:
        if scales(layer):
            return keras.layers.DepthwiseConv2D(1, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    clone = keras.models.clone_model(model, clone_function=replaced)
    for layer in model.layers:
        weights = layer.get_weights()
        if scales(layer):
            channels = layer.output.shape[-1]
            scale, offset = (np.broadcast_to(np.float32(value), channels) for value in (layer.scale, layer.offset))
            weights = [scale.reshape(1, 1, channels, 1), offset]
        clone.get_layer(layer.name).set_weights(weights)
    return clone


def _with_ranges(measured: bytes, learned: Ranges) -> bytes:
    """The file of measured ranges with the learned ones in their places.

    Raises:
        ValueError: a layer of them is not there.
    """
    if not learned:
        return measured
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    model = schema.ModelT.InitFromPackedBuf(bytearray(measured), 0)
    graph, last = model.subgraphs[0], {}
    for operation in graph.operators:  # the last one of a layer makes its output
        for output in operation.outputs:
            last[layer_of(graph.tensors[output].name.decode())] = graph.tensors[output]
    if missing := sorted(set(learned) - set(last)):
        raise ValueError(f"the converter has no tensor of the layers {', '.join(missing)}")
    for layer, (low, high) in learned.items():
        last[layer].quantization.min, last[layer].quantization.max = [low], [high]
    builder = Builder(len(measured))
    builder.Finish(model.Pack(builder), MAGIC)
    return bytes(builder.Output())


def _converter(model: Any, folder: Path, dtype: str = "uint8") -> Any:
    import tensorflow as tf

    from cnn_jax.exporting.tensorflow_functions import write_saved_model

    write_saved_model(model, folder, batch=1, dtype=dtype)
    return tf.lite.TFLiteConverter.from_saved_model(str(folder))
