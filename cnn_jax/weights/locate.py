"""Turn `model.weights` into a file on this machine: a path, a folder of weights, a cache, or a download."""

import os
from pathlib import Path

import pooch

from cnn_jax.config import ModelConfig
from cnn_jax.config.model import KERAS_PREFIX
from cnn_jax.errors import FetchError, WeightsError
from cnn_jax.io.escaping import as_it_is
from cnn_jax.io.fetching import no_connection, reason
from cnn_jax.io.files import as_path, cache_folder
from cnn_jax.io.writing import is_remote
from cnn_jax.weights import foreign, keras_application
from cnn_jax.weights.catalog import BUNDLED, bundled, imagenet
from cnn_jax.weights.readers import hdf5

STALL_SECONDS = 30.0
"""A download that brings nothing for so long is given up and tried again."""
RETRIES = 2


def locate(model: ModelConfig, *, top: bool | None = None) -> Path | None:
    """The weights file, or the run directory, for `model.weights`; None for `none`.

    `imagenet` is looked for in the folder `CNN_JAX_WEIGHTS`, the cache, and Keras' own cache, then downloaded into
    the cache: checked, and moved into place in one step, so that neither an interruption nor a second process that
    does the same leaves half a file.

    Args:
        top: for `imagenet`, with the classifier of ImageNet's classes; None: as the model needs it.

    Raises:
        WeightsError: there is no such file, it cannot be looked at, or is of a kind that is not read.
        FetchError: `imagenet` can neither be found nor fetched.
        ConfigError: `imagenet`, or what comes with the package, has no weights for this model.
    """
    if model.weights == "none":
        return None
    if model.weights.startswith(KERAS_PREFIX):
        return keras_application.locate(model.weights)
    if model.weights in BUNDLED:
        return bundled(model)
    if model.weights == "imagenet":
        record = imagenet(model, top=top)
        found = find_or_download(record.file, record.url, record.md5)
        foreign.refuse(found)
        return found
    try:
        return _given(as_path(model.weights))
    except OSError as error:
        raise WeightsError(f"model.weights={model.weights} cannot be read: {error.strerror or error}") from error


def _given(path: Path) -> Path:
    """The file or run that `model.weights` names."""
    if (path / "checkpoints").is_dir() or (path.is_dir() and path.parent.name == "checkpoints"):
        return path
    found = fetch(path) if is_remote(path) and path.is_file() else path
    foreign.refuse(found)
    if not found.is_file():
        raise WeightsError(
            f"model.weights={path}: there is no such file or run; "
            "give `imagenet`, `none`, `shapes`, the path of a .h5, .weights.h5 or .keras file, or a run directory"
        )
    return found


def fetch(path: Path) -> Path:
    """A copy of a remote weights file in the cache; WeightsError where it cannot be made."""
    from cnn_jax.io import remote

    try:
        return remote.fetch(path, cache_folder() / "weights" / "remote")
    except OSError as error:
        raise WeightsError(f"model.weights={path} cannot be copied to {cache_folder()}: {error.strerror}") from error


def find_or_download(file: str, url: str, md5: str | None) -> Path:
    """A published file, looked for in the order of `locate`, then downloaded.

    Raises:
        FetchError: it can neither be found nor fetched.
        WeightsError: a folder cannot be looked into.
    """
    folders = [cache_folder() / "weights", Path.home() / ".keras" / "models"]
    if os.environ.get("CNN_JAX_WEIGHTS"):
        folders.insert(0, Path(os.environ["CNN_JAX_WEIGHTS"]).expanduser())
    try:
        found = next((folder / file for folder in folders if (folder / file).is_file()), None)
    except OSError as error:  # passed by, what lies there would be fetched once more, or not be used
        raise WeightsError(f"{error.filename} cannot be looked for: {error.strerror}: mend the folder") from error
    if found is not None:
        return found
    return _download(file, url, md5, cache_folder() / "weights")


class RefusedError(OSError):
    """There is no server, or it says that it will not give the file: trying again does not help."""


def _download(file: str, url: str, md5: str | None, folder: Path) -> Path:
    """Fetch into a temporary file beside the place, check, move; three attempts."""
    files = pooch.create(
        path=folder,
        base_url="",
        registry={file: f"md5:{md5}" if md5 else None},
        urls={file: url},
        retry_if_failed=RETRIES,
    )
    try:
        return Path(files.fetch(file, downloader=_fetch))
    except (OSError, ValueError) as error:  # the exceptions of requests are OSErrors
        raise FetchError(
            f"{file} ({reason(_cause(error))})\n"
            f"    Fetch {url}\n"
            f"    and put it into {folder} or a folder that CNN_JAX_WEIGHTS names."
        ) from error


def _cause(error: Exception) -> BaseException:
    return error.__cause__ if isinstance(error, RefusedError) and error.__cause__ else error


def _fetch(url: str, output_file: str, pooch_: pooch.Pooch) -> None:
    """Download with a progress bar; an .h5 must arrive as a whole HDF5 file, since not every one has a known hash.

    Raises:
        ValueError: it is not; pooch then tries again, as for the connection errors of requests.
        RefusedError: no connection, or an HTTP status such as 404.
    """
    http = pooch.HTTPDownloader(timeout=STALL_SECONDS, progressbar=True, chunk_size=2**16)
    try:
        with as_it_is():  # the bar
            http(url, output_file, pooch_)
    except OSError as error:  # an exception of requests has the response, if there was one
        status = getattr(getattr(error, "response", None), "status_code", None)
        if (status is not None and 400 <= status < 500) or no_connection(error):
            raise RefusedError(str(error)) from error
        raise
    if not url.endswith(".h5"):
        return
    try:
        with hdf5.opened(Path(output_file), Path(output_file)):  # looks at the length that the file says it has
            return
    except Exception as error:  # see keras_h5.read
        raise ValueError(f"what the server sent is not a whole HDF5 file: {error}") from error
