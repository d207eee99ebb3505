"""The arrays of a whole Keras model, put where the network of its description has them."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_jax.errors import WeightsError
from cnn_jax.models.keras_graph.converted import Slot
from cnn_jax.models.keras_graph.network import Network, Place
from cnn_jax.models.layers import Dense
from cnn_jax.weights.readers import hdf5, keras_v2, keras_v3
from cnn_jax.weights.readers.hdf5 import Array, Group
from cnn_jax.weights.readers.leaves import LeafCollector, Leaves


def read(path: Path, network: Network) -> Leaves:
    """All arrays of a `.keras` or whole-model `.h5` file, as leaves of `network`.

    Raises:
        WeightsError: the file cannot be read, or has arrays that no layer of its description takes.
    """
    collector = LeafCollector(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if "model.weights.h5" not in archive.namelist():
                    raise WeightsError(
                        f"{path}: the archive has no model.weights.h5; save the model with weights_format='h5'"
                    )
                content = io.BytesIO(keras_v3.member(archive, "model.weights.h5", path))
            with hdf5.opened(content, path) as file:
                _take_by_group(file, network.places, collector)
        else:
            with hdf5.opened(path, path) as file:
                _take_by_name(file, network.places, collector)
    except WeightsError:
        raise
    except Exception as error:  # see keras_h5.read
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise WeightsError(f"{path} cannot be read as a Keras model ({reason}): it may be damaged") from error
    _add_biases(collector.leaves, network)
    return collector.leaves


def _take_by_group(file: Group, places: Sequence[Place], collector: LeafCollector) -> None:
    """As Keras 3 keeps them: by the layer's class and a count, numbered."""
    by_group = {place.group: place for place in places}
    for where, variables in keras_v3.layers_with_variables(file):
        place = by_group.get(where)
        if place is None:
            raise WeightsError(f"{collector.path}: no layer of its description has the arrays in {where}")
        if set(variables) != {str(i) for i in range(len(place.slots))}:
            raise WeightsError(
                f"{collector.path}: the layer {place.path[-1]} has {len(variables)} arrays, and by its description "
                f"{len(place.slots)}"
            )
        for number, slot in enumerate(place.slots):
            _take(slot, f"{place.path[-1]}/{slot.names[0]}", variables[str(number)], collector)


def _take_by_name(file: Group, places: Sequence[Place], collector: LeafCollector) -> None:
    """As Keras 2 keeps them: in a group for each outermost layer, by the names of layer and array."""
    for outermost, weight, item in keras_v2.arrays(file):
        place = _place(outermost, weight, places, collector.path)
        last = keras_v2.last_part(weight)
        slot = next((slot for slot in place.slots if last in slot.names), None)
        if slot is None:
            raise WeightsError(
                f"{collector.path}: the layer {place.path[-1]} has an array {last}, which its description does not know"
            )
        _take(slot, weight, item, collector)


def _place(outermost: str, weight: str, places: Sequence[Place], path: Path) -> Place:
    """The layer that the array belongs to."""
    inside = [place for place in places if place.path[0] == outermost]
    if [place.path for place in inside] == [(outermost,)]:
        return inside[0]
    layer = keras_v2.scope(outermost, weight)
    found = [place for place in inside if place.path[-1] == layer]
    if len(found) > 1:
        scopes = weight.split("/")
        found = [place for place in found if place.path[-2] in scopes]
    if len(found) != 1:
        what = "several layers have" if found else "no layer has"
        raise WeightsError(
            f"{path}: by its description {what} the array {weight} of {outermost}. Load the model in Keras and save it "
            "as a .keras file, which says it clearly"
        )
    return found[0]


def _take(slot: Slot, weight: str, item: Group | Array, collector: LeafCollector) -> None:
    if slot.leaf:
        collector.add(slot.layer, weight, (slot.collection, slot.leaf), item, slot.change)


def _add_biases(leaves: Leaves, network: Network) -> None:
    """Zeros for a classifier that has a bias here and none in the file."""
    params = leaves["params"]
    named = {slot.layer for place in network.places for slot in place.slots if slot.leaf == "bias"}
    for layer in network.layers:
        name = str(layer.name)
        if isinstance(layer, Dense) and layer.use_bias and name not in named and "kernel" in params.get(name, {}):
            params[name]["bias"] = np.zeros(params[name]["kernel"].shape[-1], np.float32)
