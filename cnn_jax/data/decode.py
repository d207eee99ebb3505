"""From the bytes of an image file to its pixels, as Pillow's `convert("RGB")` gives them, the right way up.

TensorFlow decodes JPEG and PNG on its own threads. With the accurate integer transform (libjpeg's `islow`), its JPEG
pixels are Pillow's, bit for bit, and so those of Keras' `load_img`; TensorFlow's default, which Keras'
`image_dataset_from_directory` takes, is a faster and coarser transform (up to some twenty steps of 255 away).
Pillow decodes what TensorFlow gets wrong or has no decoder for: CMYK, BMP with a palette, GIF whose first picture is
smaller than the canvas, WebP. `cnn_jax.data.pillow` decodes all of it in the same way without TensorFlow.
"""

from typing import Any

import numpy as np

from cnn_jax.data import pillow
from cnn_jax.data.pillow import LOOKED_AT, MAX_PIXELS
from cnn_jax.data.tensorflow import tf
from cnn_jax.errors import DataError

PNG_HEADER = 24
"""Bytes up to the end of width and height, which begin at byte 16."""


def decode(encoded: Any, ratio: int = 1) -> Any:
    """The bytes of an image file, string[], to uint8[h, w, 3], inside a TensorFlow graph.

    16-bit channels become their high byte, transparency is dropped, of an animation the first picture is taken, and
    EXIF orientation is applied. Raises OpError for what cannot be read, and for more than `MAX_PIXELS`.

    Args:
        ratio: 1, 2, 4 or 8. Most JPEG files give a picture so many times smaller, in less time: all of the file is
            read and the same files are refused, but fewer pixels are computed. Other files come as they are.
    """
    signature = tf().strings.substr(encoded, 0, 8)
    is_jpeg = tf().equal(tf().strings.substr(signature, 0, 3), b"\xff\xd8\xff")
    is_png = tf().equal(signature, b"\x89PNG\r\n\x1a\n") & (tf().strings.length(encoded) >= PNG_HEADER)
    pixels = tf().cond(
        is_jpeg,
        lambda: _decode_jpeg(encoded, ratio),
        lambda: tf().cond(is_png, lambda: _decode_png(encoded), lambda: _pillow(encoded)),
    )
    has_exif = tf().strings.regex_full_match(tf().strings.substr(encoded, 0, LOOKED_AT), r"\C*(?:Exif|eXIf)\C*")
    pixels = tf().cond(has_exif, lambda: _turn_upright(pixels, encoded), lambda: pixels)
    return tf().ensure_shape(pixels, (None, None, 3))


def _decode_jpeg(encoded: Any, ratio: int) -> Any:
    height, width, channels = tf().unstack(tf().image.extract_jpeg_shape(encoded, tf().int64), num=3)
    return tf().cond(
        (channels > 3) | (height * width > MAX_PIXELS),  # CMYK, in one of its forms; what is too large is refused there
        lambda: _pillow(encoded),
        lambda: tf().io.decode_jpeg(encoded, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"),
    )


def _decode_png(encoded: Any) -> Any:
    header = tf().io.decode_raw(tf().strings.substr(encoded, PNG_HEADER - 8, 8), tf().int32, little_endian=False)
    return tf().cond(
        tf().reduce_prod(tf().cast(header, tf().int64)) > MAX_PIXELS,
        lambda: _pillow(encoded),  # which refuses it
        lambda: tf().io.decode_png(encoded, channels=3),
    )


def _pillow(encoded: Any) -> Any:
    pixels, reason = tf().numpy_function(_decode_with_pillow, [encoded], (tf().uint8, tf().string), stateful=False)
    readable = tf().raw_ops.Assert(condition=tf().equal(reason, b""), data=[reason])
    # None where it ran at once, outside of a graph
    with tf().control_dependencies([] if readable is None else [readable]):
        return tf().ensure_shape(tf().identity(pixels), (None, None, 3))


def _decode_with_pillow(encoded: bytes | np.ndarray) -> tuple[np.ndarray, bytes]:
    """Pixels, and why there are none: TensorFlow would print the traceback of an error that is raised in here."""
    try:
        return pillow.pixels(_content(encoded)), b""
    except DataError as error:
        return np.zeros((0, 0, 3), np.uint8), str(error).encode("utf-8", "replace")


def _content(encoded: bytes | np.ndarray) -> bytes:
    """The bytes, which TensorFlow gives as an array without axes when it runs outside of graphs."""
    return encoded if isinstance(encoded, bytes) else encoded.item()


def _turn_upright(pixels: Any, encoded: Any) -> Any:
    turns = tf().numpy_function(_turns, [encoded], tf().bool, stateful=False)
    transpose, flip_rows, flip_columns = tf().unstack(tf().ensure_shape(turns, (3,)))
    pixels = tf().cond(transpose, lambda: tf().transpose(pixels, (1, 0, 2)), lambda: pixels)
    pixels = tf().cond(flip_rows, lambda: tf().reverse(pixels, (0,)), lambda: pixels)
    return tf().cond(flip_columns, lambda: tf().reverse(pixels, (1,)), lambda: pixels)


def _turns(encoded: bytes | np.ndarray) -> np.ndarray:
    return np.asarray(pillow.turns(_content(encoded)))
