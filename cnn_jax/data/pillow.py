"""From the bytes of an image file to its pixels without TensorFlow, whose import takes longer than naming a photograph.

The pixels are those of `cnn_jax.data.decode`, bit for bit. In the streams of training and evaluation TensorFlow decodes
what it decodes rightly, on its own threads, and Pillow the rest; everywhere else Pillow decodes everything.
They refuse the same files but for some damaged PNG files, which libpng refuses and Pillow reads.
"""

import io
import warnings
from typing import Any

import numpy as np

from cnn_jax.errors import DataError

MAX_PIXELS = 178_956_970
"""Larger images are refused, going by their header, before memory is taken: Pillow's bound, 537 MB as RGB."""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
"""What Pillow may decode; the content counts, not the suffix."""

LOOKED_AT = 2**14
"""Bytes in which the name of an EXIF block is looked for: it is to be the first of a JPEG file's segments (EXIF 2.3,
4.5.4), and what some programs put before it (JFIF, a colour profile) is a few kilobytes long."""

ORIENTATION = 0x0112
"""EXIF's tag: 1 is upright; 2 to 8 are the other ways to turn and mirror a rectangle."""

# Pillow warns from half of the bound on, which is a size like any other here.
warnings.filterwarnings("ignore", message="Image size .* exceeds limit")


def decode(encoded: bytes) -> np.ndarray:
    """The bytes of an image file to uint8[h, w, 3], the right way up; what it means is said at `decode.decode`.

    Raises:
        DataError: why they cannot be read.
    """
    image = pixels(encoded)
    start = encoded[:LOOKED_AT]
    if b"Exif" not in start and b"eXIf" not in start:
        return image
    transpose, flip_rows, flip_columns = turns(encoded)
    image = image.transpose(1, 0, 2) if transpose else image
    return np.ascontiguousarray(image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def pixels(encoded: bytes) -> np.ndarray:
    """uint8[h, w, 3] as stored, before EXIF orientation; DataError with the reason where they cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            return _as_rgb(image)
    except Image.DecompressionBombError as error:
        raise DataError(f"its header claims more than {MAX_PIXELS:,} pixels: make the picture smaller") from error
    except Image.UnidentifiedImageError as error:
        reason = "its content is none of JPEG, PNG, BMP, GIF, WebP" if encoded else "it is empty"
        raise DataError(reason) from error
    except Exception as error:  # Pillow's decoders let errors of many kinds through where a file is damaged
        raise DataError(str(error) or type(error).__name__) from error


def _as_rgb(image: Any) -> np.ndarray:
    if image.mode.startswith("I"):  # grey of 16 bits, which `convert` would cut off at 255
        high = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)
        return np.repeat(high[..., None], 3, axis=-1)
    return np.asarray(image.convert("RGB"))


def turns(encoded: bytes) -> tuple[bool, bool, bool]:
    """What brings the stored rows and columns upright: swap them, then mirror rows, then columns.

    The numbers are those of EXIF 2.3, 4.6.4: 5 to 8 are stored lying down.
    """
    number = _orientation(encoded)
    return number >= 5, number in (3, 4, 7, 8), number in (2, 3, 6, 7)


def _orientation(encoded: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to refuse the picture
        return 1
    return found if found in range(1, 9) else 1
