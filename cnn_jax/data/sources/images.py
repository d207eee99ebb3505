"""Where the images of a split are, and how one is loaded: inside a TensorFlow graph, or as an array without it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int64, UInt8

from cnn_jax.config.data import Background
from cnn_jax.data import pillow
from cnn_jax.data.decode import decode
from cnn_jax.data.sources.content import as_array, hashes_of_files, sha256
from cnn_jax.data.sources.names import Names
from cnn_jax.errors import DataError
from cnn_jax.io.files import as_path
from cnn_jax.io.tensorflow import tf


class Images(Protocol):
    """Images by number."""

    def load(self, index: Any) -> Any:
        """int64[] to uint8[h, w, 3] or uint8[h, w, 1]; raises OpError for an image that cannot be read."""

    def array(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        """The same pixels without TensorFlow; raises DataError, with the reason, for an image that cannot be read."""

    def take(self, indices: Int64[np.ndarray, " m"]) -> "Images":
        """Only these, in this order."""

    def hashes(self) -> UInt8[np.ndarray, "n 32"]:
        """Of what each image is made of: the same hash, the same pixels. Nothing is decoded for it."""


@dataclass(frozen=True)
class FileImages:
    """Image files, by paths below `folder` or, where that is empty, as they are."""

    paths: Names
    folder: str
    background: Background

    @classmethod
    def of(cls, paths: Sequence[str], background: Background) -> "FileImages":
        """The files at these paths."""
        return cls(Names.of(paths), "", background)

    def load(self, index: Any) -> Any:
        prefix, block, starts, lengths = self._tensors
        path = tf().strings.substr(block, tf().gather(starts, index), tf().gather(lengths, index))
        return decode(tf().io.read_file(tf().strings.join([prefix, path])), self.background)

    def array(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        path = os.path.join(self.folder, self.paths[index])
        try:
            encoded = as_path(path).read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error
        return pillow.decode(encoded, self.background)

    @cached_property
    def _tensors(self) -> tuple[Any, ...]:
        prefix = os.path.join(self.folder, "") if self.folder else ""
        parts = (os.fsencode(prefix), self.paths.block, self.paths.starts, self.paths.lengths)
        return tuple(outside_of_graph(part) for part in parts)

    def take(self, indices: Int64[np.ndarray, " m"]) -> "FileImages":
        return FileImages(self.paths.take(indices), self.folder, self.background)

    def hashes(self) -> UInt8[np.ndarray, "n 32"]:
        return _over(self.background, hashes_of_files(self.folder, self.paths))


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory."""

    pixels: UInt8[np.ndarray, "n h w c"]

    def load(self, index: Any) -> Any:
        return tf().gather(self._tensor, index)

    def array(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        return self.pixels[index]

    @cached_property
    def _tensor(self) -> Any:
        return outside_of_graph(self.pixels)

    def take(self, indices: Int64[np.ndarray, " m"]) -> "ArrayImages":
        return ArrayImages(self.pixels[indices])

    def hashes(self) -> UInt8[np.ndarray, "n 32"]:
        shape = repr(self.pixels.shape[1:]).encode()
        return as_array([sha256(shape + np.ascontiguousarray(image).tobytes()) for image in self.pixels])


@dataclass(frozen=True)
class ResizedImages(ArrayImages):
    """Images in memory at the size that the network takes; their hashes are of what they were made from."""

    source: Images

    def take(self, indices: Int64[np.ndarray, " m"]) -> "ResizedImages":
        return ResizedImages(self.pixels[indices], self.source.take(indices))

    def hashes(self) -> UInt8[np.ndarray, "n 32"]:
        return self.source.hashes()


@dataclass(frozen=True)
class EncodedImages:
    """Encoded images from a random-access source: `read(i)` gives the bytes of the i-th file."""

    read: Callable[[int], bytes]
    indices: Int64[np.ndarray, " n"]
    name: str
    """Of the data set, its version and split: prepared data sets do not change."""
    background: Background

    def load(self, index: Any) -> Any:
        position = tf().gather(outside_of_graph(self.indices), index)
        content = tf().numpy_function(lambda i: self.read(int(i)), [position], tf().string)
        return decode(content, self.background)

    def array(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        return pillow.decode(self.read(int(self.indices[index])), self.background)

    def take(self, indices: Int64[np.ndarray, " m"]) -> "EncodedImages":
        return EncodedImages(self.read, self.indices[indices], self.name, self.background)

    def hashes(self) -> UInt8[np.ndarray, "n 32"]:
        named = as_array([sha256(repr((self.name, index)).encode()) for index in self.indices.tolist()])
        return _over(self.background, named)


@dataclass(frozen=True)
class DrawnImages:
    """Images that `draw(i)` makes when they are asked for: a pure function of the number."""

    draw: Callable[[int], UInt8[np.ndarray, "s s 3"]]
    size: int
    indices: Int64[np.ndarray, " n"]
    name: str
    """Of the picture book: changes with all that `draw` depends on besides the number."""

    def load(self, index: Any) -> Any:
        position = tf().gather(outside_of_graph(self.indices), index)
        drawn = tf().numpy_function(lambda i: self.draw(int(i)), [position], tf().uint8, stateful=False)
        return tf().ensure_shape(drawn, (self.size, self.size, 3))

    def array(self, index: int) -> UInt8[np.ndarray, "h w c"]:
        return self.draw(int(self.indices[index]))

    def take(self, indices: Int64[np.ndarray, " m"]) -> "DrawnImages":
        return DrawnImages(self.draw, self.size, self.indices[indices], self.name)

    def hashes(self) -> UInt8[np.ndarray, "n 32"]:
        return as_array([sha256(repr((self.name, self.size, index)).encode()) for index in self.indices.tolist()])


def _over(background: Background, hashes: UInt8[np.ndarray, "n 32"]) -> UInt8[np.ndarray, "n 32"]:
    """The hashes of the same files for this background: others for each."""
    return hashes ^ np.frombuffer(sha256(background.encode()), np.uint8)


def outside_of_graph(value: Any) -> Any:
    """The value as a tensor that graphs refer to; a constant inside of them is copied, and limited to 2 GB.

    An array that begins at a multiple of 64 bytes is not copied.
    """
    with tf().init_scope():
        return tf().convert_to_tensor(value)
