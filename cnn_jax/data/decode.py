"""From the bytes of an image file to its pixels, as Pillow's `convert("RGB")` gives them, the right way up.

TensorFlow decodes JPEG and PNG on its own threads. With the accurate integer transform (libjpeg's `islow`), its JPEG
pixels are Pillow's, bit for bit, and so those of Keras' `load_img`; TensorFlow's default, which Keras'
`image_dataset_from_directory` takes, is a faster and coarser transform (up to some twenty steps of 255 away).
Pillow decodes what TensorFlow gets wrong or has no decoder for: CMYK, BMP with a palette, GIF whose first picture is
smaller than the canvas, WebP.
"""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from cnn_jax.data.tensorflow import tf

MAX_PIXELS = 178_956_970
"""Larger images are refused, going by their header, before memory is taken: Pillow's bound, 537 MB as RGB."""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
"""What Pillow may decode; the content counts, not the suffix."""

LOOKED_AT = 2**17
"""Bytes in which EXIF is looked for. It should be the first segment of a JPEG file, and segments have up to 2**16."""

PNG_HEADER = 24
"""Bytes up to the end of width and height, which begin at byte 16."""

ORIENTATION = 0x0112
"""EXIF's tag: 1 is upright; 2 to 8 are the other ways to turn and mirror a rectangle."""


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
    return tf().ensure_shape(_in_python(_decode_with_pillow, encoded, tf().uint8), (None, None, 3))


def _in_python(function: Callable[[bytes], np.ndarray], encoded: Any, dtype: Any) -> Any:
    """The result of a Python function; outside of graphs it would be given the bytes in an array without axes."""
    unwrap = lambda content: content if isinstance(content, bytes) else content.item()  # noqa: E731
    return tf().numpy_function(lambda content: function(unwrap(content)), [encoded], dtype, stateful=False)


def _decode_with_pillow(encoded: bytes) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            return np.asarray(image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise _unreadable(f"its header claims more than {MAX_PIXELS:,} pixels: make the picture smaller") from error
    except Image.UnidentifiedImageError as error:
        raise _unreadable("its content is none of JPEG, PNG, BMP, GIF, WebP" if encoded else "it is empty") from error
    except Exception as error:  # Pillow's decoders let errors of many kinds through where a file is damaged
        raise _unreadable(str(error) or type(error).__name__) from error


def _unreadable(reason: str) -> Exception:
    return tf().errors.InvalidArgumentError(None, None, reason)


def _turn_upright(pixels: Any, encoded: Any) -> Any:
    turns = tf().ensure_shape(_in_python(_turns, encoded, tf().bool), (3,))
    transpose, flip_rows, flip_columns = tf().unstack(turns)
    pixels = tf().cond(transpose, lambda: tf().transpose(pixels, (1, 0, 2)), lambda: pixels)
    pixels = tf().cond(flip_rows, lambda: tf().reverse(pixels, (0,)), lambda: pixels)
    return tf().cond(flip_columns, lambda: tf().reverse(pixels, (1,)), lambda: pixels)


def _turns(encoded: bytes) -> np.ndarray:
    """What brings the stored rows and columns upright: swap them, then mirror rows, then columns; bool[3].

    The numbers are those of EXIF 2.3, 4.6.4: 5 to 8 are stored lying down.
    """
    number = _orientation(encoded)
    return np.asarray([number >= 5, number in (3, 4, 7, 8), number in (2, 3, 6, 7)])


def _orientation(encoded: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to refuse the picture
        return 1
    return found if found in range(1, 9) else 1
