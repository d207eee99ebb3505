"""Read weights from Keras' legacy HDF5 files, and rename them to this package's layers and leaves.

The layout: the attribute `layer_names` of the root (of the group `model_weights` in a whole-model file) lists the
layers, each a group whose attribute `weight_names` lists its arrays. An attribute over 64 kB is split into
`layer_names0`, `layer_names1`, ….
"""

import re
from pathlib import Path

import h5py
import numpy as np

from cnn_jax.errors import WeightsError

Leaves = dict[str, dict[str, dict[str, np.ndarray]]]
"""{"params" or "batch_stats": {layer: {leaf: array}}}"""

_LEAVES = {
    "kernel": ("params", "kernel"),
    "depthwise_kernel": ("params", "kernel"),
    "bias": ("params", "bias"),
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
    "W_1": ("params", "kernel"),  # the VGG files of 2016: block1_conv1_W_1:0, block1_conv1_b_1:0
    "b_1": ("params", "bias"),
}
"""Keras' name of a weight to this package's collection and leaf."""


def read(path: Path) -> Leaves:
    """All weights of a legacy Keras `.h5` file, with or without the top, of a model or of weights alone.

    Kernels come as they are stored: [kh, kw, in, out], depthwise ones [kh, kw, c, m].

    Raises:
        WeightsError: not a file, not HDF5 (or truncated), not this layout, a name without a rule, or values that
            are not finite.
    """
    if not path.is_file():
        raise WeightsError(f"model.weights: there is no file {path}")
    try:
        with h5py.File(path, "r") as file:
            return _read_layers(file, path)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"{path} cannot be read as a Keras .h5 weights file ({error}). It may be truncated or of another kind: "
            "fetch it again, or give another file as model.weights"
        ) from error


def _read_layers(file: h5py.File, path: Path) -> Leaves:
    root = file.get("model_weights", file)
    leaves: Leaves = {"params": {}, "batch_stats": {}}
    names = _attribute(root, "layer_names")
    if names is None:
        raise WeightsError(f"{path} has no attribute layer_names: it is HDF5, but not a legacy Keras weights file")
    for layer in names:
        for weight in _attribute(root[layer], "weight_names") or []:
            collection, leaf = _rename(layer, weight, path)
            array = np.asarray(root[layer][weight])
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise WeightsError(f"{path}: {weight} holds values that are not finite numbers; fetch the file again")
            if leaf in leaves[collection].setdefault(layer, {}):
                raise WeightsError(f"{path}: layer {layer} has two weights for {leaf}")
            leaves[collection][layer][leaf] = array
    return {collection: {k: v for k, v in layers.items() if v} for collection, layers in leaves.items()}


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


def _rename(layer: str, weight: str, path: Path) -> tuple[str, str]:
    """Collection and leaf of a weight called `conv1/kernel:0`, `conv1_1/kernel:0` or `block1_conv1_W_1:0`."""
    last = re.sub(r":\d+$", "", weight).rpartition("/")[2]
    rule = _LEAVES.get(last) or _LEAVES.get(last.removeprefix(f"{layer}_"))
    if rule is None:
        raise WeightsError(f"{path}: the weight {weight!r} of layer {layer!r} has a name that no rule reads")
    return rule
