"""Keras' JSON of the layers, as a whole model's file has it."""

import json
import zipfile
from pathlib import Path

from cnn_jax.config import ModelConfig
from cnn_jax.config.image_size import ImageSize
from cnn_jax.errors import WeightsError
from cnn_jax.io.files import parse_json
from cnn_jax.models.keras_graph.network import Network
from cnn_jax.models.keras_graph.network import read as read_network
from cnn_jax.weights.locate import locate
from cnn_jax.weights.readers import hdf5, keras_h5, keras_v3

RECORD = "keras_layers.json"
"""What a run directory has of the file that it began with."""


def read(path: Path) -> tuple[str | bytes | None, str | None]:
    """The description of the layers, and the version of Keras that wrote it; None for what the file does not say.

    Raises:
        WeightsError: the file cannot be read.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return keras_v3.member(archive, "config.json", path), _version(archive, path)
    with hdf5.opened(path, path) as file:
        texts = file.texts("model_config")
        return None if texts is None else "".join(texts), "".join(file.texts("keras_version") or []) or None


def _version(archive: zipfile.ZipFile, path: Path) -> str | None:
    if "metadata.json" not in archive.namelist():
        return None
    metadata = parse_json(keras_v3.member(archive, "metadata.json", path))
    return str(metadata.get("keras_version")) if isinstance(metadata, dict) else None


def network(path: Path, image_size: ImageSize | None = None) -> Network:
    """The network that the file, or the file that a run began with, describes; errors name it.

    Args:
        image_size: rows and columns of the images, where the description leaves them open.

    Raises:
        WeightsError: there is no such file, it has no description, or one that cannot be read.
    """
    return _network(_text(path), path, image_size)


def of(model: ModelConfig, source: Path | None = None) -> str | None:
    """The description of the network that is configured; None for those of this package.

    Args:
        source: the file, or the run, that `model.weights` stands for, where it was found already.

    Raises:
        WeightsError: it has none.
    """
    if model.name != "keras":
        return None
    source = source or locate(model)
    assert source is not None, "ModelConfig asks for weights"
    text = _text(source)
    _network(text, source, model.image_size)  # whose errors name the file
    return text


def _network(text: str, path: Path, image_size: ImageSize | None) -> Network:
    try:
        return read_network(text, image_size)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _text(path: Path) -> str:
    """Of a file, or what a run, or the run that a checkpoint is of, has of the file that it began with."""
    if not path.is_dir():
        return read_versioned(path)
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    try:
        return (run / RECORD).read_text()
    except OSError as error:
        raise WeightsError(f"{run / RECORD} cannot be read ({error.strerror}): no run of model.name=keras") from error


def read_versioned(path: Path) -> str:
    """The description, compact, with the version of Keras that wrote it as `keras_version`.

    Raises:
        WeightsError: there is no such file, or it has no description.
    """
    if not path.is_file():
        raise WeightsError(f"model.weights: there is no file {path}")
    try:
        text, version = read(path)
        described = None if text is None else parse_json(text)
    except WeightsError:
        raise
    except Exception as error:  # see keras_h5.read
        raise WeightsError(
            f"{path}: the description of its layers cannot be read ({type(error).__name__}: {error}). It may be "
            "truncated or of another kind: give a whole model, .keras or .h5, as model.weights"
        ) from error
    if not isinstance(described, dict):
        way = keras_h5.identified(path) or (
            "For model.name=keras save the whole model, model.save('mine.keras'); or give the model.name of a network "
            "that it fits"
        )
        raise WeightsError(f"{path} has weights alone, and does not say of which layers. {way}")
    return json.dumps({**described, "keras_version": version or described.get("keras_version")})
