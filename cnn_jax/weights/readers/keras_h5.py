"""Read a file of weights in any of the HDF5 layouts that Keras writes, recognised by its content."""

import zipfile
from pathlib import Path

from cnn_jax.errors import WeightsError
from cnn_jax.weights.readers import hdf5, keras_v2, keras_v3
from cnn_jax.weights.readers.leaves import Leaves, NoRule
from cnn_jax.weights.recognition import UNKNOWN, of_keras, recognised


def read(path: Path) -> Leaves:
    """All weights of a Keras file: legacy `.h5` (weights or a whole model), `.weights.h5` or `.keras`.

    Kernels come as they are stored: [kh, kw, in, out], depthwise ones [kh, kw, c, m].

    Raises:
        WeightsError: not a file, of another kind, truncated or corrupt, a name without a rule (the message says of
            which network, where that is known), or values that are not finite.
    """
    if not path.is_file():
        raise WeightsError(f"model.weights: there is no file {path}")
    try:
        leaves = _read(path)
    except NoRule as error:
        raise NoRule(f"{error}. {_named(path) or UNKNOWN}") from error
    except WeightsError:
        raise
    except Exception as error:  # pyfive and zipfile raise a dozen kinds, by the byte that is wrong
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise WeightsError(
            f"{path} cannot be read as a Keras weights file ({reason}). It may be truncated or of another kind: fetch "
            "it again, or give another file as model.weights"
        ) from error
    if not any(leaves.values()):
        raise WeightsError(f"{path} has no weights: its layers list none. It may be damaged; fetch it again")
    return leaves


def _read(path: Path) -> Leaves:
    if zipfile.is_zipfile(path):
        return keras_v3.read_archive(path)
    with hdf5.opened(path, path) as file:
        if keras_v2.has_layout(file):
            return keras_v2.read_layers(file, path)
        if keras_v3.has_layout(file):
            return keras_v3.read_layers(file, path)
    raise WeightsError(
        f"{path} is HDF5, but not a Keras weights file: it has neither the attribute layer_names (.h5) "
        "nor the group layers (.weights.h5)"
    )


def identified(path: Path) -> str:
    """A sentence that says of which network the weights in a file are, with the flags for it; empty: not known."""
    try:
        return _named(path) or recognised(read(path))
    except WeightsError:
        return ""


def _named(path: Path) -> str:
    """What the names of its layers say; empty where they say nothing, or cannot be read."""
    try:
        return of_keras(_layer_names(path))
    except Exception:  # of a damaged file, as in `read`
        return ""


def _layer_names(path: Path) -> set[str]:
    """Of a file of weights that `_read` has opened."""
    if zipfile.is_zipfile(path):
        return set()  # a whole model, which describes its layers
    with hdf5.opened(path, path) as file:
        return set(keras_v2.layer_names(file) if keras_v2.has_layout(file) else keras_v3.layer_names(file))
