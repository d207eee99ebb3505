"""Read weights from the files of Keras 3: `.weights.h5`, and the one inside a `.keras` archive.

The layout: a group for each layer, `layers/conv2d_1`, named by its class and a count, the arrays in its group `vars` as
`0`, `1`, …, in the order in which the layer made them. The attribute `name` of `vars` is the layer's own name; the
first versions did not write it, and there only the `config.json` of an archive knows. A model inside a model is a
group with `layers` of its own. Layers come as `keras.src.saving.saving_lib` (Keras 3.15) writes them.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnn_jax.errors import WeightsError
from cnn_jax.models.keras_graph.values import snake_case
from cnn_jax.weights.readers import hdf5
from cnn_jax.weights.readers.hdf5 import Group
from cnn_jax.weights.readers.leaves import RULES, LeafCollector, Leaves, NoRule

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""What the group of a model's layers is called; the second by tf.keras 2.13 to 2.15."""

MOST_INFLATION = 20
"""How many times as large as an archive a file in it may be: Keras compresses nothing, and weights shrink little."""

VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""The arrays of a layer's class, in order; a convolution or dense layer may lack the last."""


def has_layout(file: Group) -> bool:
    """Whether this is a file of Keras 3's layout."""
    return any(name in file for name in CONTAINERS)


def read_archive(path: Path) -> Leaves:
    """All weights of a `.keras` file.

    Raises:
        WeightsError: see `read_layers`; or the archive has no HDF5 weights.
    """
    with zipfile.ZipFile(path) as archive:
        if "model.weights.h5" not in archive.namelist():
            raise WeightsError(f"{path}: the archive has no model.weights.h5; save the model with weights_format='h5'")
        content = io.BytesIO(member(archive, "model.weights.h5", path))  # in one piece: its checksum is looked at
        names = _names_in_config(json.loads(member(archive, "config.json", path)))
    with hdf5.opened(content, path) as file:
        return read_layers(file, path, names)


def member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    """The content of a file in the archive. No other is looked at, and nothing is ever unpacked to disk.

    Raises:
        WeightsError: it is far larger than the whole archive, or compressed in a way that has no bound.
    """
    info = archive.getinfo(name)
    if info.file_size > MOST_INFLATION * path.stat().st_size:
        raise WeightsError(f"{path}: {name} claims {info.file_size:,} bytes, which is made to fill the memory")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others are inflated as a whole
        raise WeightsError(f"{path}: {name} is compressed as Keras never does it; save the model in Keras again")
    with archive.open(info) as content:
        return content.read(info.file_size)  # without the number up to 2 GB are inflated before any are cut off


def read_layers(file: Group, path: Path, names: Mapping[str, str] | None = None) -> Leaves:
    """All weights of the layers in an open file, those of models inside the model too, by the layers' own names.

    Args:
        names: the layers' names by group, for groups that do not say theirs.

    Raises:
        WeightsError: a layer without a name or of a class that no rule reads (`NoRule`), values that are not finite,
            or two layers of one name.
    """
    collector = LeafCollector(path)
    for where, variables in layers_with_variables(file):
        group = where.rpartition("/")[2]
        layer = "".join(variables.texts("name") or []) or (names or {}).get(where)
        if not layer:
            raise WeightsError(
                f"{path}: the layer {where} does not say its name, as in files of the first versions of Keras 3; "
                "load the model in Keras and save it as a .keras file"
            )
        weights = _weight_names(group, len(variables))
        if weights is None or set(variables) != {str(i) for i in range(len(variables))}:
            raise NoRule(f"{path}: no rule reads the {len(variables)} arrays of layer {layer!r} ({where})")
        for number, weight in enumerate(weights):
            collector.add(layer, f"{layer}/{weight}", RULES[weight], variables[str(number)])
    return collector.leaves


def layer_names(file: Group) -> Iterator[str]:
    """The layers that have arrays in an open file of this layout, by their own names as far as it says them."""
    return ("".join(variables.texts("name") or []) for _, variables in layers_with_variables(file))


def layers_with_variables(model: Group, prefix: str = "") -> Iterator[tuple[str, Group]]:
    """Path and `vars` of each layer that has arrays, depth first; optimizer and random generators are not layers."""
    for layers in (model.group(name) for name in CONTAINERS if name in model):
        for key in layers:
            layer, where = layers.group(key), f"{prefix}layers/{key}"
            if "vars" in layer and len(layer.group("vars")):
                yield where, layer.group("vars")
            yield from layers_with_variables(layer, f"{where}/")


def _weight_names(group: str, count: int) -> tuple[str, ...] | None:
    """Keras' names of the arrays in a group such as `conv2d_3`; None where no rule knows them."""
    kind = re.sub(r"_\d+$", "", group)
    names = VARIABLES.get(kind, ())
    complete = count == len(names) or (count == 1 and kind != "batch_normalization")
    return names[:count] if names and complete else None


def _names_in_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The layers' names by group, from the configuration of a Sequential or functional model."""
    names: dict[str, str] = {}
    seen: dict[str, int] = {}
    for layer in config["config"].get("layers", ()):
        kind = snake_case(layer["class_name"])
        seen[kind] = seen.get(kind, -1) + 1
        where = f"{prefix}layers/{kind}" + (f"_{seen[kind]}" if seen[kind] else "")
        names[where] = layer["config"]["name"]
        names |= _names_in_config(layer, f"{where}/")
    return names
