"""Write a network as a whole Keras model: an `.h5` file that `keras.models.load_model` opens.

So do Keras 2 (`tf_keras` 2.21) and TensorFlow.js' converter (4.22), with equal probabilities: their layers refuse
fields that they do not know, so every field is one that Keras 2 has, and Keras 3 reads.

It is written with h5py alone. The model takes images as they are, float or uint8 RGB of 0 to 255: the normalisation
is part of it, as layers without weights. The layers keep their names, so `keras_h5.read` and Keras' own
`load_weights` read the file too.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnn_jax.models.chain import Variables
from cnn_jax.models.layers import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    ZeroPad,
)
from cnn_jax.models.model import Model
from cnn_jax.models.normalisation import IMAGENET_MEANS_BGR
from cnn_jax.models.shifts import explicit_pads

KERAS_VERSION = "3.0.0"
"""The oldest that reads the configuration as it is written here."""
INPUT = "images"

Config = dict[str, Any]

_WEIGHTS = {
    "Conv": (("params", "kernel", "kernel"), ("params", "bias", "bias")),
    "Dense": (("params", "kernel", "kernel"), ("params", "bias", "bias")),
    "DepthwiseConv": (("params", "kernel", "depthwise_kernel"),),
    "BatchNorm": (
        ("params", "scale", "gamma"),
        ("params", "bias", "beta"),
        ("batch_stats", "mean", "moving_mean"),
        ("batch_stats", "var", "moving_variance"),
    ),
}
"""Kind of layer to (collection, leaf, Keras' name) in the order in which Keras keeps them."""


def write(path: Path, model: Model, variables: Variables, name: str, *, probabilities: bool = True) -> None:
    """Write the model to `path`: with a softmax after its last layer where that gives logits (`probabilities`).

    Raises:
        TypeError: a layer that Keras has no counterpart of.
    """
    layers = _graph(model, probabilities)
    config = {
        "class_name": "Functional",
        "config": {
            "name": name,
            "trainable": True,
            "layers": layers,
            "input_layers": [INPUT, 0, 0],
            "output_layers": [layers[-1]["name"], 0, 0],
        },
    }
    content = io.BytesIO()  # see below
    with h5py.File(content, "w", libver="latest") as file:  # whose groups take a tenth of the room
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        for target in (file, group):
            target.attrs["keras_version"] = KERAS_VERSION
            target.attrs["backend"] = "jax"
        names = [str(layer.name) for layer in model.layers if type(layer).__name__ in _WEIGHTS]
        group.attrs["layer_names"] = [layer.encode() for layer in names]
        for layer in model.layers:
            if layer.name in names:
                _write_weights(group.create_group(str(layer.name)), layer, variables)
    path.write_bytes(
        content.getvalue()
    )  # not by HDF5, which ends the process with a segmentation fault where a disk is full


def _write_weights(group: h5py.Group, layer: Layer, variables: Variables) -> None:
    arrays = {}
    for collection, leaf, keras_name in _WEIGHTS[type(layer).__name__]:
        leaves = variables[collection].get(layer.name, {})
        if leaf in leaves:
            array = np.asarray(leaves[leaf], np.float32)
            if keras_name == "depthwise_kernel":
                array = array.reshape(*array.shape[:2], -1, 1)  # Keras: [kh, kw, c, 1]; here [kh, kw, 1, c]
            arrays[f"{layer.name}/{keras_name}:0"] = array
    group.attrs["weight_names"] = [name.encode() for name in arrays]
    for name, array in arrays.items():
        group[name] = array


def _graph(model: Model, probabilities: bool) -> list[Config]:
    """Keras' configuration of each layer: the input, the normalisation, the chain, perhaps the softmax."""
    size = model.image_size
    graph = [_layer("InputLayer", INPUT, [], batch_input_shape=[None, size, size, 3], dtype="float32")]
    graph += _NORMALISATIONS[model.normalisation or ""]()
    shape = (size, size)
    for layer in model.layers:
        before = [graph[-1]["name"], *([layer.source] if isinstance(layer, Add) else [])]
        graph.append(_counterpart(layer, before, shape))
        shape = model.output_shapes[str(layer.name)].shape[1:3]
    return [*graph, _layer("Softmax", "probabilities", [graph[-1]["name"]])] if probabilities else graph


def _layer(kind: str, name: str, inputs: list[str], **config: Any) -> Config:
    nodes = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def _tf_normalisation() -> list[Config]:
    return [_layer("Rescaling", "normalise", [INPUT], scale=1 / 127.5, offset=-1.0)]


def _caffe_normalisation() -> list[Config]:
    """Keras has no layer that turns channels around, but rows it can crop: channels become rows, and rows channels."""
    graph = [_layer("Permute", "channels_first", [INPUT], dims=[3, 1, 2])]
    crops = {"blue": [2, 0], "green": [1, 1], "red": [0, 2]}
    for name, rows in crops.items():
        graph.append(
            _layer("Cropping2D", name, ["channels_first"], cropping=[rows, [0, 0]], data_format="channels_last")
        )
    return [
        *graph,
        _layer("Concatenate", "bgr_first", list(crops), axis=1),
        _layer("Permute", "bgr", ["bgr_first"], dims=[2, 3, 1]),
        _layer("Rescaling", "normalise", ["bgr"], scale=1.0, offset=[-mean for mean in IMAGENET_MEANS_BGR]),
    ]


_NORMALISATIONS: dict[str, Callable[[], list[Config]]] = {"tf": _tf_normalisation, "caffe": _caffe_normalisation}


def _counterpart(layer: Layer, inputs: list[str], shape: tuple[int, ...]) -> Config:
    """The Keras layer that does what `layer` does to images of so many rows and columns."""
    name = str(layer.name)
    match layer:
        case Conv() | DepthwiseConv():
            return _convolution(layer, inputs)
        case BatchNorm():
            return _layer("BatchNormalization", name, inputs, epsilon=layer.epsilon, momentum=layer.momentum)
        case Activation():
            return _layer("ReLU", name, inputs, max_value=6.0 if layer.kind == "relu6" else None)
        case ZeroPad():
            pads = explicit_pads(shape, (3, 3), (2, 2), layer.pads)
            return _layer("ZeroPadding2D", name, inputs, padding=[list(pad) for pad in pads])
        case Add():
            return _layer("Add", name, inputs)
        case MaxPool():
            window = {"pool_size": list(layer.pool_size), "strides": list(layer.strides)}
            return _layer("MaxPooling2D", name, inputs, **window, padding=layer.padding.lower())
        case GlobalAveragePool():
            return _layer("GlobalAveragePooling2D", name, inputs, keepdims=layer.keep_size)
        case Flatten():
            return _layer("Flatten", name, inputs)
        case Dropout():
            return _layer("Dropout", name, inputs, rate=layer.rate)
        case Dense():
            return _layer("Dense", name, inputs, units=layer.features, activation=layer.activation or "linear")
    raise TypeError(f"there is no Keras layer for {name}, a {type(layer).__name__}")


def _convolution(layer: Conv | DepthwiseConv, inputs: list[str]) -> Config:
    if not isinstance(layer.padding, str):
        raise TypeError(f"Keras' convolutions have no explicit padding such as that of {layer.name}: {layer.padding}")
    window = {
        "kernel_size": list(layer.kernel_size),
        "strides": list(layer.strides),
        "padding": layer.padding.lower(),
    }
    if isinstance(layer, DepthwiseConv):
        return _layer("DepthwiseConv2D", str(layer.name), inputs, **window, use_bias=False)
    return _layer(
        "Conv2D",
        str(layer.name),
        inputs,
        **window,
        filters=layer.features,
        use_bias=layer.use_bias,
        activation=layer.activation or "linear",
    )
