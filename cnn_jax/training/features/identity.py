"""What the outputs of layers depend on, as hashes: what was computed once is found by them."""

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict

import jax
import jaxlib

from cnn_jax.data.preprocess import Resize
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import digest


def identities(model: Model, layers: int, variables: Variables, resize: Resize) -> list[str]:
    """Hashes of all that the outputs of the first 0, 1, … `layers` layers depend on, besides the images."""
    begin = [asdict(resize), model.normalisation, model.precision, importlib.metadata.version("cnn_jax")]
    begin += ["grey"] if model.grey else []
    found = [hashlib.sha256(json.dumps(begin).encode()).hexdigest()]
    for layer in model.layers[:layers]:
        name = str(layer.name)
        parts = [found[-1], name, repr(layer), model.output_shapes[name].shape, digest(of_layers([name], variables))]
        found.append(hashlib.sha256(json.dumps(parts).encode()).hexdigest())
    return found


def of_layers(names: Sequence[str], variables: Variables) -> Variables:
    """The variables of these layers alone."""
    return {
        collection: {layer: leaves for layer, leaves in layers.items() if layer in names}
        for collection, layers in variables.items()
    }


def hardware() -> list[str]:
    """What else decides the last bits of a result: the library and the kind of device."""
    processor = ""
    if jax.default_backend() == "cpu":
        with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo") as file:
            processor = next(line for line in file if line.startswith(("model name", "Features")))
    return [jaxlib.__version__, jax.default_backend(), jax.devices()[0].device_kind, processor]
