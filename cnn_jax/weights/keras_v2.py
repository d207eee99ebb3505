"""Read weights from Keras' legacy HDF5 files, and rename them to this package's layers and leaves.

The layout: the attribute `layer_names` of the root (of the group `model_weights` in a whole-model file) lists the
layers, each a group whose attribute `weight_names` lists its arrays. An attribute over 64 kB is split into
`layer_names0`, `layer_names1`, …. A model inside a model is one group with the weights of all its layers.
"""

import re
from pathlib import Path

import h5py

from cnn_jax.errors import WeightsError
from cnn_jax.weights.leaves import RULES, LeafCollector, Leaves


def has_layout(file: h5py.File) -> bool:
    """Whether this is a file of the legacy layout."""
    return _attribute(file.get("model_weights", file), "layer_names") is not None


def read_layers(file: h5py.File, path: Path) -> Leaves:
    """All weights of an open file of this layout, the layers of models inside the model by their own names.

    Kernels come as they are stored: [kh, kw, in, out], depthwise ones [kh, kw, c, m].

    Raises:
        WeightsError: a name without a rule, values that are not finite, or two arrays for one leaf.
    """
    root = file.get("model_weights", file)
    collector = LeafCollector(path)
    for group in _attribute(root, "layer_names") or []:
        for weight in _attribute(root[group], "weight_names") or []:
            layer = _layer(group, weight)
            collector.add(layer, weight, _rule(layer, weight, path), root[group][weight])
    return collector.leaves


def _attribute(group: h5py.Group, name: str) -> list[str] | None:
    """A list of names kept in an attribute, whole or in numbered chunks; None if there is none."""
    if name in group.attrs:
        chunks = [group.attrs[name]]
    else:
        chunks = []
        while f"{name}{len(chunks)}" in group.attrs:
            chunks.append(group.attrs[f"{name}{len(chunks)}"])
        if not chunks:
            return None
    return [item.decode() if isinstance(item, bytes) else str(item) for chunk in chunks for item in chunk]


def _layer(group: str, weight: str) -> str:
    """The layer of a weight: the group, or the last scope in the weight's name where the group is a nested model.

    In `conv1_3/kernel:0` of the group `conv1` the scope is the layer's own, numbered by TensorFlow.
    """
    scope = weight.rpartition("/")[0].rpartition("/")[2]
    return group if not scope or re.fullmatch(rf"{re.escape(group)}(_\d+)?", scope) else scope


def _rule(layer: str, weight: str, path: Path) -> tuple[str, str]:
    """Collection and leaf of a weight called `conv1/kernel:0`, `conv1_1/kernel:0` or `block1_conv1_W_1:0`."""
    last = re.sub(r":\d+$", "", weight).rpartition("/")[2]
    rule = RULES.get(last) or RULES.get(last.removeprefix(f"{layer}_"))
    if rule is None:
        raise WeightsError(f"{path}: the weight {weight!r} of layer {layer!r} has a name that no rule reads")
    return rule
