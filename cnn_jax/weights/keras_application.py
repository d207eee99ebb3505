"""Networks of Keras Applications by name, where Keras is installed: Keras builds them and fetches their weights.

They are kept in the cache folder as whole models, which are read like anybody's file (`model.name=keras`).
"""

import inspect
import tempfile
from pathlib import Path

from cnn_jax.config.model import KERAS_PREFIX
from cnn_jax.config.validation import near
from cnn_jax.errors import ConfigError, FetchError
from cnn_jax.io.escaping import as_it_is
from cnn_jax.io.fetching import reason
from cnn_jax.io.files import cache_folder


def locate(weights: str) -> Path:
    """The file of a network, made where it is not in the cache folder.

    Raises:
        ConfigError: Keras is not installed, or has no network of this name.
        FetchError: its weights cannot be fetched, or the file cannot be written.
    """
    name = weights.removeprefix(KERAS_PREFIX)
    path = cache_folder() / "weights" / "keras" / f"{name}.keras"
    if path.is_file():
        return path
    try:
        import keras
    except ImportError as error:
        raise ConfigError(f"model.weights={weights} needs Keras: pip install keras ({error})") from error
    known = [key for key, value in vars(keras.applications).items() if inspect.isroutine(value)]
    if name not in known:
        raise ConfigError(f"model.weights={weights}: Keras has no such network; near names: {near(name, known)}")
    try:
        with as_it_is():  # the bar of the download
            model = getattr(keras.applications, name)(weights="imagenet")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            model.save(Path(folder) / path.name)
            (Path(folder) / path.name).replace(path)
    except Exception as error:  # Keras raises its own where a download fails
        raise FetchError(f"{weights} ({reason(error)}). Keras keeps its files in ~/.keras/models") from error
    return path
