"""Image files that a person names one by one, by folder or by pattern, streamed whether or not all can be read."""

import collections
import contextlib
import glob
import itertools
import os
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data import pillow
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import IMAGE_SUFFIXES, FileImages, image_files, left_out
from cnn_jax.data.sources.folders import require_file, subfolders
from cnn_jax.data.stream import PARALLEL_CALLS, Batch
from cnn_jax.errors import DataError
from cnn_jax.io.files import as_path
from cnn_jax.io.tensorflow import first_line, read_errors, tf
from cnn_jax.io.writing import REMOTE, is_remote

HANDFUL = 2000
"""Images up to which Pillow reads them: TensorFlow reads three times as many a second (790 and 2,270 photographs on two
cores, whole and resized), and its import takes as long as that saves."""

AHEAD = 3
"""Batches of images that are read before they are asked for, so that the network does not wait."""


Found = tuple[str, str]
"""A file or folder, and of what kind it is where it is not taken for an image (see `left_out`), else nothing."""


def expand(names: Sequence[str | Path]) -> list[str]:
    """The files that `names` stand for, in their order: files as they are, folders and patterns (`*`, `**`) sorted.

    Folders give their image files at any depth; patterns the image files and folders that match.

    Raises:
        DataError: a name that stands for nothing or for no image, or a folder that cannot be read.
    """
    return [path for name in names for path in _images(name, _expand_one(os.path.expanduser(name)))]


def everything(names: Sequence[str | Path]) -> list[Found]:
    """As `expand`, with all else that lies in the folders or matches the patterns in its place among the images.

    Raises:
        DataError: a name that stands for nothing, or a folder that cannot be read.
    """
    return [found for name in names for found in _expand_one(os.path.expanduser(name))]


def why_no_image(path: str, kind: str) -> str:
    """Why nothing can be read from what is no image by its name; empty where its content is one all the same."""
    if os.path.isdir(path) or is_remote(path) or kind == left_out.HIDDEN:
        return f"not looked at: {kind}"
    if not os.path.isfile(path):
        return "not looked at: it is no regular file"
    try:
        with open(path, "rb") as file:
            return pillow.why_not(file)
    except OSError as error:
        return error.strerror or str(error)


def _images(name: str | Path, found: list[Found]) -> list[str]:
    images = [path for path, kind in found if not kind]
    if not images:
        raise DataError(f"{name}: there are no images ({', '.join(IMAGE_SUFFIXES)})")
    return images


def _expand_one(name: str) -> list[Found]:
    if is_remote(name):
        return _expand_remote(name)
    if os.path.isfile(name):
        return [(name, "")]
    if os.path.isdir(name):
        found = _below(name)
    elif glob.has_magic(name):
        _require_folders(name)
        matches = sorted(glob.glob(name, recursive=True))
        found = list(dict.fromkeys(each for match in matches for each in _at(match)))
    else:
        raise DataError(f"{name}: there is no such file or folder")
    if not found:
        raise DataError(f"{name}: there is nothing in it")
    return found


def _require_folders(pattern: str) -> None:
    """DataError for a folder that the pattern looks into and that cannot be read: `glob` passes it by."""
    parts = Path(pattern).parts
    for number, part in enumerate(parts):
        if glob.has_magic(part):
            above = os.path.join(*parts[:number], "**" if part == "**" else "", "")
            for folder in glob.glob(above or ".", recursive=True):
                subfolders(Path(folder))


def _expand_remote(name: str) -> list[Found]:
    """As `_expand_one`; there are no folders but the beginnings of names, so what has no files is not there either."""
    path = as_path(name)
    if path.is_file():
        return [(str(path), "")]
    found = _below(str(path))
    if not found and "**" in name:
        raise DataError(f"{name}: ** is for patterns of this machine; name the folder, for all images below it")
    if not found and glob.has_magic(name):
        bucket, *rest = path.parts[2:]
        matches = sorted(str(match) for match in as_path(f"{REMOTE}{bucket}").glob("/".join(rest)))
        found = list(dict.fromkeys(each for match in matches for each in _at(match)))
    if not found:
        raise DataError(f"{name}: there is no such image, and there are no images below it")
    return found


def _below(folder: str) -> list[Found]:
    """All that is found in a folder, sorted by path; of folders that are not looked into, the folder."""
    others: list[Found] = []
    images = image_files(folder, passed=lambda entry, kind: others.append((entry.path, kind)))
    return sorted([*((path, "") for path in images), *others])


def _at(path: str) -> list[Found]:
    is_image = path.lower().endswith(IMAGE_SUFFIXES)
    if os.path.isdir(path) or (is_remote(path) and not is_image):
        return _below(path)
    if not is_image:
        return [(path, left_out.kind_of_file(os.path.basename(path)))]
    require_file(path, is_remote(path) or os.path.isfile(path))
    return [(path, "")]


class Readable(Protocol):
    """Images by number, as far as they are read one by one."""

    def array(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        """Its pixels, of 1 or 3 channels; raises DataError, with the reason, for an image that cannot be read."""


def readable_batches(images: Readable, count: int, resize: Resize, batch_size: int) -> Generator[Batch, None, None]:
    """The first `count` images that can be read, in order, as `image`, `index` and `mask`.

    An image that cannot be read is left out: its index is missing. The last batch is filled up with zeros. Close it, to
    stop the threads that read.
    """
    ahead = AHEAD * batch_size
    if count > HANDFUL and isinstance(images, FileImages):
        found = _readable_in_graph(images, count, resize, ahead)
    else:
        found = _readable(images, count, resize, ahead)
    with contextlib.closing(found) as readable:
        while chosen := list(itertools.islice(readable, batch_size)):
            image = np.zeros((batch_size, *resize.shape), np.uint8)
            index = np.zeros(batch_size, np.int64)
            for position, (number, pixels) in enumerate(chosen):
                image[position], index[position] = pixels, number
            yield {"image": image, "index": index, "mask": np.arange(batch_size) < len(chosen)}


def _readable(
    images: Readable, count: int, resize: Resize, ahead: int
) -> Generator[tuple[int, UInt8[np.ndarray, "h w 3"]], None, None]:
    """Number and pixels of each image that can be read; as many threads as there are cores read `ahead` of the user."""

    def load(index: int) -> UInt8[np.ndarray, "h w 3"] | None:
        try:
            return resize.array(images.array(index))
        except DataError:
            return None

    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, count or 1))
    numbers, waiting = iter(range(count)), collections.deque[tuple[int, Future[UInt8[np.ndarray, "h w 3"] | None]]]()
    try:
        while True:
            for number in itertools.islice(numbers, ahead - len(waiting)):
                waiting.append((number, pool.submit(load, number)))
            if not waiting:
                return
            number, loaded = waiting.popleft()
            pixels = loaded.result()
            if pixels is not None:
                yield number, pixels
    finally:
        pool.shutdown(cancel_futures=True)


def _readable_in_graph(
    images: FileImages, count: int, resize: Resize, ahead: int
) -> Generator[tuple[int, UInt8[np.ndarray, "h w 3"]], None, None]:
    """As `_readable`, on TensorFlow's threads."""

    def load(index: Any) -> tuple[Any, Any]:
        return index, resize(images.load(index))

    options = tf().data.Options()
    options.autotune.enabled = False  # as in the streams of training
    loaded = tf().data.Dataset.range(count).map(load, PARALLEL_CALLS, deterministic=True)
    dataset = loaded.ignore_errors().prefetch(ahead).with_options(options)
    for index, pixels in dataset.as_numpy_iterator():
        yield int(index), pixels


def why_unreadable(images: Readable, index: int) -> str:
    """What is wrong with an image that cannot be read, in one line."""
    try:
        images.array(index)
        if "tensorflow" in sys.modules and isinstance(images, FileImages):  # which may refuse what Pillow reads
            images.load(index)
    except DataError as error:
        return str(error).splitlines()[0]
    except read_errors() as error:
        return first_line(error)
    return "it could not be read before"
