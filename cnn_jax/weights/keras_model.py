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

import h5py

from cnn_jax.config.image_size import sides
from cnn_jax.errors import ConfigError
from cnn_jax.models.chain import Variables, sources
from cnn_jax.models.layers import IMAGES, Layer
from cnn_jax.models.model import Model
from cnn_jax.models.normalisation import IMAGENET_DEVIATIONS, IMAGENET_MEANS, IMAGENET_MEANS_BGR, Normalisation
from cnn_jax.weights.keras_counterparts import Config, counterparts, described, keras_name, stored

KERAS_VERSION = "3.0.0"
"""The oldest that reads the configuration as it is written here."""
INPUT, GREY_INPUT, PROBABILITIES = "images", "grey_images", "probabilities"


def write(path: Path, model: Model, variables: Variables, name: str, *, probabilities: bool = True) -> None:
    """Write the model to `path`: with a softmax after its last layer where that gives logits (`probabilities`).

    Raises:
        TypeError: a layer that Keras has no counterpart of.
        ConfigError: a layer is called as one of those that are added.
    """
    layers = _graph(model, variables, probabilities)
    config = {
        "class_name": "Functional",
        "config": {
            "name": name,
            "trainable": True,
            "layers": layers,
            "input_layers": [layers[0]["name"], 0, 0],
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
        order = _in_keras(layers)
        with_arrays = sorted(
            (layer for layer in model.layers if stored(layer, variables)), key=lambda layer: order[keras_name(layer)]
        )
        group.attrs["layer_names"] = [keras_name(layer).encode() for layer in with_arrays]
        for layer in with_arrays:
            _write_weights(group.create_group(keras_name(layer)), layer, variables)
    # not by HDF5, which ends the process with a segmentation fault where a disk is full
    path.write_bytes(content.getvalue())


def _write_weights(group: h5py.Group, layer: Layer, variables: Variables) -> None:
    name = keras_name(layer)
    arrays = {f"{name}/{kind}:0": array for kind, array in stored(layer, variables).items()}
    group.attrs["weight_names"] = [key.encode() for key in arrays]
    for key, array in arrays.items():
        group[key] = array


def _graph(model: Model, variables: Variables, probabilities: bool) -> list[Config]:
    """Keras' configuration of each layer: the input, the normalisation, the chain, perhaps the softmax."""
    shape = sides(model.image_size)
    repeated = model.grey and model.channels == 3
    name, channels = (GREY_INPUT, 1) if repeated else (INPUT, model.channels)
    graph = [described("InputLayer", name, [], batch_input_shape=[None, *shape, channels], dtype="float32")]
    graph += [described("Concatenate", INPUT, [name] * 3, axis=-1)] if repeated else []
    graph += _NORMALISATIONS[model.normalisation or "none"]()
    ends = {IMAGES: graph[-1]["name"]}
    for layer, names in zip(model.layers, sources(model.layers), strict=True):
        graph += counterparts(layer, [ends[name] for name in names], shape, variables)
        ends[str(layer.name)] = graph[-1]["name"]
        shape = model.output_shapes[str(layer.name)].shape[1:3]
    if probabilities:
        graph.append(described("Softmax", PROBABILITIES, [graph[-1]["name"]]))
    taken = [item["name"] for item in graph]
    if len(set(taken)) < len(taken):
        twice = next(name for name in taken if taken.count(name) > 1)
        raise ConfigError(f"two layers would be called {twice} in Keras; one of them is of the export itself")
    return graph


def _in_keras(graph: list[Config]) -> dict[str, int]:
    """Where Keras puts each layer of a functional model: it reads arrays by this order, not by their names.

    Layers come by their distance from the output, the longest path, the farthest first; those of one distance in the
    order in which a walk from the output to the inputs enters them (`keras.src.ops.function.map_graph`).
    """
    inputs = {item["name"]: [call[0] for node in item["inbound_nodes"] for call in node] for item in graph}
    distance = dict.fromkeys(inputs, 0)
    for name in reversed(inputs):  # each comes after all that it takes
        for source in inputs[name]:
            distance[source] = max(distance[source], distance[name] + 1)
    entered: dict[str, int] = {}
    waiting = [graph[-1]["name"]]
    while waiting:
        name = waiting.pop()
        if name not in entered:
            entered[name] = len(entered)
            waiting += reversed(inputs[name])
    ordered = sorted(entered, key=lambda name: (-distance[name], entered[name]))
    return {name: position for position, name in enumerate(ordered)}


def _tf_normalisation() -> list[Config]:
    return [described("Rescaling", "normalise", [INPUT], scale=1 / 127.5, offset=-1.0)]


def _caffe_normalisation() -> list[Config]:
    """Keras has no layer that turns channels around, but rows it can crop: channels become rows, and rows channels."""
    graph = [described("Permute", "channels_first", [INPUT], dims=[3, 1, 2])]
    crops = {"blue": [2, 0], "green": [1, 1], "red": [0, 2]}
    for name, rows in crops.items():
        graph.append(
            described("Cropping2D", name, ["channels_first"], cropping=[rows, [0, 0]], data_format="channels_last")
        )
    return [
        *graph,
        described("Concatenate", "bgr_first", list(crops), axis=1),
        described("Permute", "bgr", ["bgr_first"], dims=[2, 3, 1]),
        described("Rescaling", "normalise", ["bgr"], scale=1.0, offset=[-mean for mean in IMAGENET_MEANS_BGR]),
    ]


def _torch_normalisation() -> list[Config]:
    scales = [1 / (255 * deviation) for deviation in IMAGENET_DEVIATIONS]
    offsets = [-mean / deviation for mean, deviation in zip(IMAGENET_MEANS, IMAGENET_DEVIATIONS, strict=True)]
    return [described("Rescaling", "normalise", [INPUT], scale=scales, offset=offsets)]


_NORMALISATIONS: dict[Normalisation, Callable[[], list[Config]]] = {
    "tf": _tf_normalisation,
    "caffe": _caffe_normalisation,
    "torch": _torch_normalisation,
    "unit": lambda: [described("Rescaling", "normalise", [INPUT], scale=1 / 255, offset=0.0)],
    "none": lambda: [],
}
