"""Write ONNX files with tf2onnx, in the process of `worker`."""

from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.exporting.onnx import INPUT, OUTPUT
from cnn_jax.exporting.tensorflow_functions import classify

OPSET = 18
"""Version of the operations: ONNX Runtime, in the browser too, has them since 1.14 (2023)."""


def write(model: Any, path: Path) -> None:
    """Write the model for any number of images, uint8[b, h, w, 3]."""
    import onnx
    import tf2onnx
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    _fix_constants(model)
    patch_tf2onnx()  # as Keras' own export does: tf2onnx is older than NumPy 2
    function = classify(model, batch=None)
    made, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET)
    graph = made.graph
    if len(graph.input) > 1:
        raise ValueError(f"tf2onnx made inputs of constants: {', '.join(value.name for value in graph.input[1:])}")
    names = {graph.input[0].name: INPUT, graph.output[0].name: OUTPUT}
    for value in (*graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(end, end) for end in ends]
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "b"
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = "b"
    onnx.checker.check_model(made)
    path.write_bytes(made.SerializeToString())


def _fix_constants(model: Any) -> None:
    """Have each `Normalization` hold its statistics as NumPy arrays: tf2onnx makes inputs of TensorFlow's own."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
