"""Read weights from Keras' legacy HDF5 files, and rename them to this package's layers and leaves.

The layout: the attribute `layer_names` of the root (of the group `model_weights` in a whole-model file) lists the
layers, each a group whose attribute `weight_names` lists its arrays. An attribute over 64 kB is split into
`layer_names0`, `layer_names1`, …. A model inside a model is one group with the weights of all its layers.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from cnn_jax.errors import WeightsError
from cnn_jax.weights.readers.hdf5 import Array, Group
from cnn_jax.weights.readers.leaves import RULES, LeafCollector, Leaves, NoRule


def has_layout(file: Group) -> bool:
    """Whether this is a file of the legacy layout."""
    return _names(_root(file), "layer_names") is not None


def read_layers(file: Group, path: Path) -> Leaves:
    """All weights of an open file of this layout, the layers of models inside the model by their own names.

    Kernels come as they are stored: [kh, kw, in, out], depthwise ones [kh, kw, c, m].

    Raises:
        WeightsError: a name without a rule (`NoRule`), values that are not finite, or two arrays for one leaf.
    """
    collector = LeafCollector(path)
    for name, weight, item in arrays(file):
        layer = scope(name, weight)
        collector.add(layer, weight, _rule(layer, weight, path), item)
    return collector.leaves


def layer_names(file: Group) -> Iterator[str]:
    """The layers that have arrays in an open file of this layout, those of models inside the model by their own names.

    Raises:
        WeightsError: a layer does not list its arrays.
    """
    return (scope(name, weight) for name, weight, _ in arrays(file))


def arrays(file: Group) -> Iterator[tuple[str, str, Group | Array]]:
    """Each array that an open file of this layout lists: its outermost layer, its name, and itself.

    Raises:
        WeightsError: a layer does not list its arrays.
    """
    root = _root(file)
    for name in _names(root, "layer_names") or []:
        group = root.group(name)
        weights = _names(group, "weight_names")
        if weights is None:
            raise WeightsError(
                f"{file.path}: the layer {name} does not list its weights, as Keras writes it; it is damaged"
            )
        for weight in weights:
            yield name, weight, group[weight]


def _root(file: Group) -> Group:
    """The group of the layers: in a file of weights the file itself, in that of a whole model a group of it."""
    return file.group("model_weights") if "model_weights" in file else file


def _names(group: Group, attribute: str) -> list[str] | None:
    """A list of names kept in an attribute, whole or in numbered chunks; None if there is none."""
    whole = group.texts(attribute)
    if whole is not None:
        return whole
    names: list[str] = []
    number = 0
    while (chunk := group.texts(f"{attribute}{number}")) is not None:
        names.extend(chunk)
        number += 1
    if number != sum(name.startswith(attribute) for name in group.attributes):
        raise WeightsError(f"{group.path}: a piece of the list {attribute} of {group.name} is missing; it is damaged")
    return names if number else None


def scope(group: str, weight: str) -> str:
    """The layer of a weight: the group, or the last scope in the weight's name where the group is a nested model.

    In `conv1_3/kernel:0` of the group `conv1` the scope is the layer's own, numbered by TensorFlow.
    """
    found = weight.rpartition("/")[0].rpartition("/")[2]
    return group if not found or re.fullmatch(rf"{re.escape(group)}(_\d+)?", found) else found


def last_part(weight: str) -> str:
    """What an array is: `kernel` of `conv1/kernel:0`."""
    return re.sub(r":\d+$", "", weight).rpartition("/")[2]


def _rule(layer: str, weight: str, path: Path) -> tuple[str, str]:
    """Collection and leaf of a weight called `conv1/kernel:0`, `conv1_1/kernel:0` or `block1_conv1_W_1:0`."""
    last = last_part(weight)
    rule = RULES.get(last) or RULES.get(last.removeprefix(f"{layer}_"))
    if rule is None:
        raise NoRule(f"{path}: the weight {weight!r} of layer {layer!r} has a name that no rule reads")
    return rule
