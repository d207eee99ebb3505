"""From the bytes of an image file to its pixels inside a TensorFlow graph, as `cnn_jax.data.pillow` gives them.

TensorFlow decodes JPEG on its own threads, twice as fast as Pillow can be called from a graph. With the accurate
integer transform (libjpeg's `islow`), its pixels are Pillow's, bit for bit, and so those of Keras' `load_img`;
TensorFlow's default, which Keras' `image_dataset_from_directory` takes, is a faster and coarser transform (up to some
twenty steps of 255 away). Everything else is decoded by Pillow, which lets go of Python's lock meanwhile and is as fast
as TensorFlow at PNG, and reads JPEG files without an end, which TensorFlow may refuse: both read the same files.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from cnn_jax.config.data import Background
from cnn_jax.data import pillow
from cnn_jax.data.pillow import MAX_PIXELS
from cnn_jax.errors import DataError
from cnn_jax.io.tensorflow import tf

END_OF_JPEG = b"\xff\xd9"

ORIENTED = r"\C*(?:Exif|eXIf|tiff:Orientation)\C*"
"""What a file has somewhere that says how to turn it: in EXIF, or in XMP."""


def decode(encoded: Any, background: Background, ratio: int = 1) -> Any:
    """The bytes of an image file, string[], to uint8[h, w, 3], inside a TensorFlow graph; see `pillow.as_rgb`.

    Raises OpError for what cannot be read, and for more than `MAX_PIXELS`.

    Args:
        ratio: 1, 2, 4 or 8. Most JPEG files give a picture so many times smaller, in less time: all of the file is
            read and the same files are refused, but fewer pixels are computed. Other files come as they are.
    """
    encoded = tf().convert_to_tensor(encoded)  # NumPy would cut off zeros at the end of bytes
    is_jpeg = tf().equal(tf().strings.substr(encoded, 0, 3), b"\xff\xd8\xff")
    pixels = tf().cond(
        is_jpeg, lambda: _decode_jpeg(encoded, background, ratio), lambda: _with_pillow(encoded, background)
    )
    return tf().ensure_shape(pixels, (None, None, 3))


def _decode_jpeg(encoded: Any, background: Background, ratio: int) -> Any:
    height, width, channels = tf().unstack(tf().image.extract_jpeg_shape(encoded, tf().int64), num=3)
    is_whole = tf().equal(tf().strings.substr(encoded, -2, 2), END_OF_JPEG)
    return tf().cond(
        is_whole & (channels <= 3) & (height * width <= MAX_PIXELS),
        lambda: _upright(tf().io.decode_jpeg(encoded, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"), encoded),
        # CMYK, in one of its forms; what is too large is refused there; after the pixels, TensorFlow minds what follows
        lambda: _with_pillow(encoded, background),
    )


def _upright(pixels: Any, encoded: Any) -> Any:
    oriented = tf().strings.regex_full_match(encoded, ORIENTED)
    return tf().cond(oriented, lambda: _turned(pixels, encoded), lambda: pixels)


def _turned(pixels: Any, encoded: Any) -> Any:
    turns = tf().numpy_function(_turns, [encoded], tf().bool, stateful=False)
    transpose, flip_rows, flip_columns = tf().unstack(tf().ensure_shape(turns, (3,)))
    pixels = tf().cond(transpose, lambda: tf().transpose(pixels, (1, 0, 2)), lambda: pixels)
    pixels = tf().cond(flip_rows, lambda: tf().reverse(pixels, (0,)), lambda: pixels)
    return tf().cond(flip_columns, lambda: tf().reverse(pixels, (1,)), lambda: pixels)


def _turns(encoded: bytes | np.ndarray) -> Bool[np.ndarray, "3"]:
    return np.asarray(pillow.turns(_content(encoded)))


def _with_pillow(encoded: Any, background: Background) -> Any:
    pixels, reason = tf().numpy_function(
        lambda content: _pixels_or_reason(_content(content), background),
        [encoded],
        (tf().uint8, tf().string),
        stateful=False,
    )
    readable = tf().raw_ops.Assert(condition=tf().equal(reason, b""), data=[reason])
    # None where it ran at once, outside of a graph
    with tf().control_dependencies([] if readable is None else [readable]):
        return tf().ensure_shape(tf().identity(pixels), (None, None, 3))


def _pixels_or_reason(encoded: bytes, background: Background) -> tuple[UInt8[np.ndarray, "h w 3"], bytes]:
    """Pixels, and why there are none: TensorFlow would print the traceback of an error that is raised in here."""
    try:
        return pillow.decode(encoded, background), b""
    except DataError as error:
        return np.zeros((0, 0, 3), np.uint8), str(error).encode("utf-8", "replace")


def _content(encoded: bytes | np.ndarray) -> bytes:
    """The bytes, which TensorFlow gives as an array without axes when it runs outside of graphs."""
    return encoded if isinstance(encoded, bytes) else encoded.item()
