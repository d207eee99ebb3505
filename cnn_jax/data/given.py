"""Images as a program has them: paths, bytes, file objects, Pillow images, arrays, and lists of any of these."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from jaxtyping import UInt8

from cnn_jax.config.data import Background
from cnn_jax.data import pillow
from cnn_jax.data.paths import expand
from cnn_jax.data.sources import FileImages
from cnn_jax.errors import DataError

Image: TypeAlias = str | Path | bytes | BinaryIO | np.ndarray | Any
"""Any of them; the last is a Pillow image, or what becomes an array (of JAX, of PyTorch on the CPU)."""

ARRAYS = "uint8[h, w], uint8[h, w, 1 to 4] or uint8[n, h, w, 1 to 4], values of 0 to 255 and no normalisation"

Reader = Callable[[], UInt8[np.ndarray, "h w c"]]
"""Gives an image of 1 or 3 channels; DataError where it cannot be read."""


@dataclass(frozen=True)
class GivenImages:
    """Images by number, each read when it is asked for (`paths.Readable`)."""

    names: Sequence[str]
    """What errors call them."""
    readers: Sequence[Reader]

    def array(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        return self.readers[index]()


def are_paths(images: Any) -> bool:
    """Whether it is a path, or a list of nothing else."""
    one_or_more = images if isinstance(images, list | tuple) else [images]
    return all(isinstance(image, str | os.PathLike) for image in one_or_more)


def given(images: Any, background: Background) -> GivenImages:
    """What `images` stands for, in its order; `background` is what shows through transparent pixels.

    Raises:
        DataError: something that is no image, or an array of another kind.
    """
    found = list(_readers(images, background, "image"))
    return GivenImages([name for name, _ in found], [reader for _, reader in found])


def _readers(images: Any, background: Background, name: str) -> Iterator[tuple[str, Reader]]:
    """Name and reader of each image; `name` is what the whole is called."""
    if isinstance(images, list | tuple):
        for number, image in enumerate(images):
            yield from _readers(image, background, f"image {number}")
    elif isinstance(images, str | os.PathLike):
        for path in expand([images]):  # type: ignore[list-item]
            yield path, partial(FileImages.of([path], background).array, 0)
    elif isinstance(images, bytes | bytearray | memoryview):
        yield name, partial(pillow.decode, bytes(images), background)
    elif hasattr(images, "getexif"):
        yield name, partial(_of_pillow, _loaded(images, name), background)
    elif hasattr(images, "read"):
        yield name, partial(pillow.decode, _content(images, name), background)
    elif hasattr(images, "__array__"):
        yield from _of_array(np.asarray(images), background, name)
    else:
        raise DataError(
            f"{name} is a {type(images).__name__}: give a path, the bytes of an image file, a file object, a Pillow "
            f"image, an array {ARRAYS}, or a list of those"
        )


def _loaded(image: Any, name: str) -> Any:
    """The Pillow image with its pixels, read here: threads would meet in its file."""
    try:
        image.load()
    except Exception as error:  # Pillow's decoders let errors of many kinds through where a file is damaged
        raise DataError(f"{name} cannot be read as an image: {error}") from error
    return image


def _of_pillow(image: Any, background: Background) -> UInt8[np.ndarray, "h w 3"]:
    try:
        return pillow.as_rgb(image, background)
    except Exception as error:  # a mode that does not become RGB
        raise DataError(str(error)) from error


def _content(file: Any, name: str) -> bytes:
    content = file.read()
    if not isinstance(content, bytes):
        raise DataError(f"{name} is a file opened as text: open it with mode 'rb'")
    return content


def _of_array(array: np.ndarray, background: Background, name: str) -> Iterator[tuple[str, Reader]]:
    has_channels = array.ndim == 2 or (array.ndim in (3, 4) and 1 <= array.shape[-1] <= 4)
    if array.dtype != np.uint8 or not has_channels:
        raise DataError(f"{name} must be {ARRAYS}; this is {array.dtype}{list(array.shape)}{_advice(array)}")
    if 0 in array.shape[-3:] and len(array):
        raise DataError(f"{name} has no pixels: it is {array.dtype}{list(array.shape)}")
    several = array.ndim == 4
    for number, image in enumerate(array if several else [array]):
        yield f"{name} {number}" if several else name, partial(_with_channels, image, background)


def _advice(array: np.ndarray) -> str:
    """What makes of it what is taken."""
    if array.dtype.kind == "f":
        return ". Of 0 to 1, give (images * 255).round().astype('uint8')"
    if array.dtype == np.uint8 and array.ndim == 3:
        return ". Grey images need an axis for their channel: images[..., None]"
    return ""


def _with_channels(array: UInt8[np.ndarray, "h w ..."], background: Background) -> UInt8[np.ndarray, "h w c"]:
    """Without channels, or with 1 to 4 of them, to 1 or 3."""
    if array.ndim == 2:
        return array[..., None]
    if array.shape[-1] in (1, 3):
        return array
    from PIL import Image as Pillow

    return pillow.as_rgb(Pillow.fromarray(array), background)
