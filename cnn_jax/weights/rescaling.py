"""What a Keras model in a file does to its images before its first weights, against what is done to them here."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.errors import WeightsError
from cnn_jax.io.files import parse_json
from cnn_jax.models.normalisation import IMAGENET_MEANS_BGR, Normalisation
from cnn_jax.weights import keras_description

OURS: dict[Normalisation, tuple[float, Sequence[float]]] = {
    "tf": (1 / 127.5, [-1.0]),
    "caffe": (1.0, [-mean for mean in IMAGENET_MEANS_BGR]),
}
"""Scale and offset of the `Rescaling` that does what a normalisation does."""

IN_WORDS: dict[Normalisation, str] = {"tf": "x / 127.5 - 1", "caffe": "BGR without the means of ImageNet"}


def difference(path: Path, normalisation: Normalisation | None) -> str | None:
    """Which other inputs than `normalisation` gives the model in the file was trained on; None where it does not say.

    A file of weights alone says nothing of it, and neither does a model without a layer `Rescaling`.

    Raises:
        WeightsError: the file's description of its layers cannot be read.
    """
    found = _rescalings(path)
    if not found or normalisation is None or (len(found) == 1 and _is(found[0], *OURS[normalisation])):
        return None
    layers = ", then ".join(_described(layer) for layer in found)
    return f"the model in the file scales images by its own {layers}; here they become {IN_WORDS[normalisation]}"


def _rescalings(path: Path) -> list[dict[str, Any]]:
    """The configurations of all layers `Rescaling`, in their order; those of models inside the model too."""
    try:
        text, _ = keras_description.read(path)
        if text is None:
            return []
        waiting, found = [parse_json(text)], []
    except ValueError as error:
        raise WeightsError(f"{path}: the description of its layers is no JSON: {error}") from error
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("class_name") == "Rescaling" and isinstance(value.get("config"), dict):
                found.append(value["config"])
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)
    return found


def _is(layer: dict[str, Any], scale: float, offset: Sequence[float]) -> bool:
    """Whether it multiplies by `scale` and adds `offset`, each for all channels or for one after the other."""
    try:
        scales, offsets = (np.asarray(layer.get(name), np.float64) for name in ("scale", "offset"))
        scales, offsets = np.broadcast_to(scales, 3), np.broadcast_to(offsets, 3)
    except (TypeError, ValueError):  # of a kind that Keras does not write
        return False
    return np.allclose(scales, scale) and np.allclose(offsets, offset)


def _described(layer: dict[str, Any]) -> str:
    numbers = ", ".join(f"{name}={json.dumps(layer.get(name))[:60]}" for name in ("scale", "offset"))
    return f"Rescaling({numbers})"
