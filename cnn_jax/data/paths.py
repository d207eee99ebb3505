"""Image files that a person names one by one, by folder or by pattern, streamed whether or not all can be read."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import IMAGE_SUFFIXES, FileImages, Images, image_files
from cnn_jax.data.sources.folders import require_file
from cnn_jax.data.stream import PARALLEL_CALLS, PREFETCH, Batch
from cnn_jax.data.tensorflow import first_line, read_errors, tf
from cnn_jax.errors import DataError
from cnn_jax.files import REMOTE, as_path, is_remote


def expand(names: Sequence[str | Path]) -> list[str]:
    """The files that `names` stand for, in their order: files as they are, folders and patterns (`*`, `**`) sorted.

    Folders give their image files at any depth; patterns the image files and folders that match.

    Raises:
        DataError: a name that stands for nothing.
    """
    return [path for name in names for path in _expand_one(os.path.expanduser(name))]


def _expand_one(name: str) -> list[str]:
    if is_remote(name):
        return _expand_remote(name)
    if os.path.isfile(name):
        return [name]
    if os.path.isdir(name):
        found = image_files(name, special=False)
    elif glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))
        found = list(dict.fromkeys(path for match in matches for path in _images_at(match)))
    else:
        raise DataError(f"{name}: there is no such file or folder")
    if not found:
        raise DataError(f"{name}: there are no images ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _expand_remote(name: str) -> list[str]:
    """As `_expand_one`; there are no folders but the beginnings of names, so what has no images is not there either."""
    path = as_path(name)
    if path.is_file():
        return [str(path)]
    found = image_files(path)
    if not found and "**" in name:
        raise DataError(f"{name}: ** is for patterns of this machine; name the folder, for all images below it")
    if not found and glob.has_magic(name):
        bucket, *rest = path.parts[2:]
        matches = sorted(str(match) for match in as_path(f"{REMOTE}{bucket}").glob("/".join(rest)))
        found = list(dict.fromkeys(path for match in matches for path in _images_at(match)))
    if not found:
        raise DataError(f"{name}: there is no such image, and there are no images below it")
    return found


def _images_at(path: str) -> list[str]:
    if os.path.isdir(path) or (is_remote(path) and not path.lower().endswith(IMAGE_SUFFIXES)):
        return image_files(path, special=False)
    if not path.lower().endswith(IMAGE_SUFFIXES):
        return []
    require_file(path, is_remote(path) or os.path.isfile(path))
    return [path]


def readable_batches(images: Images, count: int, resize: Resize, batch_size: int) -> Iterator[Batch]:
    """The first `count` images that can be read, in order, as `image`, `index` and `mask`.

    An image that cannot be read is left out: its index is missing. The last batch is filled up with zeros.
    """

    def load(index: Any) -> dict[str, Any]:
        return {"image": resize(images.load(index)), "index": index}

    loaded = tf().data.Dataset.range(count).map(load, PARALLEL_CALLS, deterministic=True)
    options = tf().data.Options()
    options.autotune.enabled = False  # as in the streams of training
    dataset = loaded.ignore_errors().batch(batch_size).prefetch(PREFETCH).with_options(options)
    for batch in dataset.as_numpy_iterator():
        missing = batch_size - len(batch["index"])
        padding = ((0, missing), (0, 0), (0, 0), (0, 0))
        image = np.pad(batch["image"], padding) if missing else batch["image"]
        mask = np.arange(batch_size) < len(batch["index"])
        yield {"image": image, "index": np.pad(batch["index"], (0, missing)), "mask": mask}


def read(path: str, resize: Resize) -> np.ndarray:
    """An image file as the network takes it, uint8[s, s, 3].

    Raises:
        DataError: what TensorFlow says of a file that it cannot read.
    """
    try:
        return np.asarray(resize(FileImages.of([path]).load(0)))
    except read_errors() as error:
        raise DataError(first_line(error)) from error


def why_unreadable(images: Images, index: int) -> str:
    """What TensorFlow says of an image that it cannot read."""
    try:
        images.load(index)
    except read_errors() as error:
        return first_line(error)
    return "it could not be read before"
