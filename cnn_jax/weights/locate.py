"""Turn `model.weights` into a file on this machine: a path, a folder of weights, a cache, or a download."""

import os
from pathlib import Path

import pooch

from cnn_jax.cache import cache_folder
from cnn_jax.config import ModelConfig
from cnn_jax.errors import WeightsError
from cnn_jax.weights.catalog import Pretrained, imagenet

OFFLINE_COMMAND = "python -m cnn_jax.train --exp=quickstart"


def locate(model: ModelConfig) -> Path | None:
    """The weights file for `model.weights`; None for `none`.

    `imagenet` is looked for in the folder `CNN_JAX_WEIGHTS`, the cache, and Keras' own cache, then downloaded into
    the cache: checked against its hash where one is known, and moved into place in one step.

    Raises:
        WeightsError: no such file, or it can neither be found nor fetched.
        ConfigError: `imagenet` has no weights for this model.
    """
    if model.weights == "none":
        return None
    if model.weights != "imagenet":
        path = Path(model.weights).expanduser()
        if not path.is_file():
            raise WeightsError(
                f"model.weights={model.weights}: there is no such file; "
                "give `imagenet`, `none` or the path of a .h5 file"
            )
        return path
    return find_or_download(imagenet(model))


def find_or_download(record: Pretrained) -> Path:
    """The file of a record, looked for in the order of `locate`, then downloaded.

    Raises:
        WeightsError: it can neither be found nor fetched.
    """
    folders = [cache_folder() / "weights", Path.home() / ".keras" / "models"]
    if os.environ.get("CNN_JAX_WEIGHTS"):
        folders.insert(0, Path(os.environ["CNN_JAX_WEIGHTS"]).expanduser())
    for folder in folders:
        if (folder / record.file).is_file():
            return folder / record.file
    return _download(record, cache_folder() / "weights")


def _download(record: Pretrained, folder: Path) -> Path:
    try:
        return Path(
            pooch.retrieve(
                record.url,
                known_hash=f"md5:{record.md5}" if record.md5 else None,
                fname=record.file,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=30, progressbar=True),
            )
        )
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{record.file} is not on this machine and could not be fetched "
            f"({type(error).__name__}).\n"
            f"  Fetch {record.url}\n"
            f"  and put it into {folder} (or a folder named by CNN_JAX_WEIGHTS), then start again.\n"
            f"  Without a network, this works: {OFFLINE_COMMAND}"
        ) from error
