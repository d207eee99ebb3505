"""Keras' descriptions of models, in both forms, as nodes; damaged and made-up ones end in one error, soon."""

import copy
import json
import time
import tracemalloc
from typing import Any

import pytest

from cnn_jax.errors import WeightsError
from cnn_jax.models.keras_graph import parse as parsing
from cnn_jax.models.keras_graph.network import read
from cnn_jax.models.keras_graph.parse import IMAGES, parse


def layer(kind: str, name: str, *inputs: str, **config: Any) -> dict[str, Any]:
    """As Keras 2 writes it."""
    calls = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": calls}


def functional(*layers: dict[str, Any], name: str = "net") -> dict[str, Any]:
    ends = [[layers[0]["name"], 0, 0]], [[layers[-1]["name"], 0, 0]]
    config = {"name": name, "layers": list(layers), "input_layers": ends[0], "output_layers": ends[1]}
    return {"class_name": "Functional", "config": config}


IN = layer("InputLayer", "in", batch_input_shape=[None, 8, 8, 3])
CONV = {"filters": 4, "kernel_size": [3, 3], "padding": "same", "use_bias": False}
NET = functional(
    IN,
    layer("Conv2D", "a", "in", **CONV),
    layer("Conv2D", "side", "in", **CONV),
    layer("BatchNormalization", "b", "a"),
    layer("Add", "sum", "b", "side"),
    layer("GlobalAveragePooling2D", "pool", "sum"),
    layer("Dense", "top", "pool", units=3, activation="softmax"),
)


def in_form_of_keras_3(model: dict[str, Any]) -> dict[str, Any]:
    model = copy.deepcopy(model)
    for item in model["config"]["layers"]:
        tensors = [
            {"class_name": "__keras_tensor__", "config": {"shape": [None], "keras_history": source[:3]}}
            for call in item["inbound_nodes"]
            for source in call
        ]
        args = [tensors] if item["class_name"] == "Add" else tensors
        item["inbound_nodes"] = [{"args": args, "kwargs": {}}] if tensors else []
    model["config"]["input_layers"], model["config"]["output_layers"] = (
        model["config"][key][0] for key in ("input_layers", "output_layers")
    )
    return model


@pytest.mark.parametrize("form", [lambda model: model, in_form_of_keras_3], ids=["Keras 2", "Keras 3"])
def test_branches_come_one_after_the_other_each_in_one_piece(form) -> None:
    found = parse(json.dumps(form(NET)))
    assert [(node.name, node.inputs) for node in found.nodes] == [
        ("a", (IMAGES,)),
        ("b", ("a",)),
        ("side", (IMAGES,)),
        ("sum", ("b", "side")),
        ("pool", ("sum",)),
        ("top", ("pool",)),
    ]
    assert found.image_shape == (8, 8, 3)
    assert found.nodes[2].group == "layers/conv2d_1"  # Keras counts in its own order


def test_a_model_inside_is_unfolded_and_known_by_its_path() -> None:
    inner = functional(layer("InputLayer", "x"), layer("Conv2D", "a", "x", **CONV), name="inner")
    inner["config"]["layers"][0]["config"] = IN["config"]  # the first versions of Keras say the size there alone
    outer = {"class_name": "Sequential", "config": [inner | {"name": "inner"}, layer("Flatten", "flat")]}
    found = parse(json.dumps(outer))
    assert found.image_shape == (8, 8, 3)
    assert [(node.name, node.path, node.group) for node in found.nodes] == [
        ("a", ("inner", "a"), "layers/functional/layers/conv2d"),
        ("flat", ("flat",), "layers/flatten"),
    ]


def changed(**fields: Any) -> dict[str, Any]:
    """NET with other fields of its layer `a`."""
    model = copy.deepcopy(NET)
    item = model["config"]["layers"][1]
    for key, value in fields.items():
        (item if key in item else item["config"])[key] = value
    return model


def with_norm(**fields: Any) -> dict[str, Any]:
    """NET with other fields of its layer `b`."""
    model = copy.deepcopy(NET)
    model["config"]["layers"][3]["config"] |= fields
    return model


def test_the_axis_of_the_channels_may_be_counted_from_the_first() -> None:
    assert read(json.dumps(with_norm(axis=[3]))).classes == 3
    vectors = functional(
        IN,
        layer("Flatten", "flat", "in"),
        layer("BatchNormalization", "b", "flat", axis=[1]),
        layer("Dense", "top", "b", units=3),
    )
    assert read(json.dumps(vectors)).classes == 3


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (changed(class_name="Lambda"), r"the layer a \(Lambda\): this class is not known"),
        (changed(class_name="Conv3D"), r"the layer a \(Conv3D\): this class is not known"),
        (changed() | {"class_name": "Mine"}, "the model is of the class Mine: only Sequential and functional"),
        (changed(inbound_nodes=[[["sum", 0, 0, {}]]]), "its inputs lead in a circle"),
        (changed(inbound_nodes=[[["gone", 0, 0, {}]]]), "takes the output of 'gone', which is not there"),
        (changed(inbound_nodes=[[["in", 0, 0, {}]], [["in", 0, 0, {}]]]), "is called at several places"),
        (changed(inbound_nodes=[[["in", 0, 1, {}]]]), "no layer with one output"),
        (changed(inbound_nodes=[[["in", 0, 0, {"training": True}]]]), "training=True"),
        (changed(inbound_nodes=[["in", {}]]), "does not say which output"),
        (changed(inbound_nodes="in"), "inbound_nodes: 'in' is no list"),
        (changed(filters="4"), r"the layer a \(Conv2D\): filters=4 must be a whole number from 1 to 65,536"),
        (changed(filters=10**12), "filters=1000000000000 must be a whole number"),
        (changed(filters=True), "filters=True must be a whole number"),
        (changed(kernel_size=[3, 10**6]), "kernel_size=1000000 must be"),
        (changed(kernel_size=[3, 3, 3]), "must be one or two whole numbers"),
        (changed(padding="causal"), "padding='causal' must be same or valid"),
        (changed(use_bias="yes"), "use_bias=yes must be true or false"),
        (changed(activation="mine"), "the activation 'mine' is not known; those that are: relu"),
        (changed(activation={"class_name": "Lambda", "config": ["code"]}), r"the activation \"\['code'\]\" is not"),
        (changed(data_format="channels_first"), "it has the channels first"),
        (with_norm(axis=[1]), r"the layer b \(BatchNormalization\): axis=1, and only the last axis, 3, can be read"),
        (with_norm(axis=0), "axis=0: only the last axis"),
        (changed(groups=3), "filters=4 in groups=3"),
        (changed(name="a\nb"), "is no name"),
        (changed(kernel_size=[1000, 1000], padding="valid"), "its layers do not fit one another, or images of 8"),
        (functional(IN, layer("UpSampling2D", "up", "in", size=[1024, 1024])), "makes 201,326,592 values"),
        (functional(layer("InputLayer", "in"), layer("Flatten", "flat", "in")), "does not say what images it takes"),
        (functional(layer("InputLayer", "in", batch_input_shape=[9, 9]), layer("Flatten", "f", "in")), "takes arr"),
        ([], "is no object"),
        ({"class_name": "Sequential", "config": {"layers": [{"class_name": 3}]}}, "class_name: '3' is no name"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_error_that_names_the_place(model: Any, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        read(json.dumps(model))


def nested(depth: int) -> dict[str, Any]:
    model = layer("Flatten", "flat")
    for level in range(depth):
        model = {"class_name": "Sequential", "config": {"name": f"s{level}", "layers": [model]}, "name": f"s{level}"}
    return {"class_name": "Sequential", "config": {"layers": [IN, model]}}


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 10**6, "is no JSON"),
        ("{", "is no JSON"),
        (" " * (parsing.MOST_CHARACTERS + 1), "characters, more than any network"),
        (json.dumps(nested(40)), "models inside models, more than 16 times"),
        (
            json.dumps(functional(IN, *(layer("Flatten", f"f{i}", "in") for i in range(10**5)))),
            "more than 5,000 layers",
        ),
        (
            json.dumps(functional(IN, layer("Add", "sum", *["in"] * 10**5))),
            "the layer sum takes",
        ),
    ],
    ids=["brackets", "half", "long", "deep", "a hundred thousand layers", "a hundred thousand inputs"],
)
def test_made_up_descriptions_end_within_seconds_and_megabytes(text: str, reason: str) -> None:
    tracemalloc.start()
    begun = time.perf_counter()
    with pytest.raises(WeightsError, match=reason):
        read(text)
    assert time.perf_counter() - begun < 300  # each layer held against each other would take hours
    assert tracemalloc.get_traced_memory()[1] < 500e6
    tracemalloc.stop()
