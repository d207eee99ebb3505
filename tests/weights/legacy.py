"""Files in Keras' legacy layout, written array by array."""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np


def write_layers(
    root: h5py.Group, layers: Mapping[str, Mapping[str, np.ndarray]], *, chunk: int | None = None, kind: Any = "S"
) -> None:
    """Write the arrays of each layer, by their whole names, with `layer_names` in attributes of `chunk` names each."""
    names = np.array(list(layers), kind)
    if chunk is None:
        root.attrs["layer_names"] = names
    else:
        for number, start in enumerate(range(0, len(names), chunk)):
            root.attrs[f"layer_names{number}"] = names[start : start + chunk]
    for layer, weights in layers.items():
        group = root.create_group(layer)
        group.attrs["weight_names"] = np.array(list(weights), kind)
        for name, value in weights.items():
            group[name] = value
