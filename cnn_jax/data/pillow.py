"""From a picture to its pixels, the right way up: from the bytes of a file, or from a Pillow image.

The pixels are those of Pillow's `ImageOps.exif_transpose(image).convert("RGB")`, but for transparency, which lies on a
background, and for grey of more than 8 bits, which `convert` cuts off at 255. Whatever decodes elsewhere gives the same
ones (`cnn_jax.data.decode`).
"""

import functools
import importlib.util
import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float, Integer, UInt8

from cnn_jax.config.data import Background
from cnn_jax.errors import DataError

MAX_PIXELS = 178_956_970
"""Larger images are refused, going by their header, before memory is taken: Pillow's bound, 537 MB as RGB."""

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
"""Whether Pillow reads .heic files, as photographs of phones are."""

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "ICO": (".ico",),
    **({"HEIF": (".heic", ".heif")} if HAS_HEIF else {}),
}
"""What Pillow may decode, by its names, with the usual suffixes; the content counts, not the suffix.

No other formats: some of Pillow's decoders start programs.
"""

FORMATS = tuple(name for name in SUFFIXES if name != "HEIF")
INSTALL_HEIF = "pip install 'cnn_jax[heic]'"
HEIC_MARKS = tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))
"""What a HEIC file has from its fifth byte on (ISO/IEC 23008-12, annex B)."""

ORIENTATION = 0x0112
"""EXIF's tag: 1 is upright; 2 to 8 are the other ways to turn and mirror a rectangle."""

BITS, SAMPLE_FORMAT, PHOTOMETRIC = 258, 339, 262
"""Tags of TIFF (TIFF 6.0, section 8 and 19): bits of a sample, 2 where it is signed, 0 where the least is white."""

ROWS = 256
"""Rows of a picture that are scaled at once, so that a large one takes no second copy in other numbers."""

# Sizes, damaged metadata, surprising headers: dealt with here, or no matter for the pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")


class TooManyPixels(DataError):  # noqa: N818  (named for what it says)
    """More than `MAX_PIXELS`; the cause says how many."""


def decode(encoded: bytes, background: Background, most_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of the bytes of an image file, as `as_rgb` makes it of its first picture.

    Raises:
        DataError: why they cannot be read.
    """
    with opened(io.BytesIO(encoded)) as image:
        if image.width * image.height > most_pixels:
            raise TooManyPixels(_too_many(most_pixels))
        return as_rgb(image, background)


def why_not(file: BinaryIO) -> str:
    """Why a file is no image, going by its first bytes; empty where it looks like one."""
    try:
        with opened(file):
            return ""
    except DataError as error:
        return str(error)


def as_rgb(image: Any, background: Background) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a Pillow image of any mode.

    EXIF orientation is applied. What is see-through shows the background; with "drop", the colour that is stored
    there. Integers of more than 8 bits are scaled from the range of their type, floating point from the least to the
    greatest value of the picture.

    Raises:
        Exception: of many kinds, where the file behind the image is damaged.
    """
    image.load()  # before the rest is asked for: formats keep it at their end, or deal with it themselves
    deep = image.mode == "F" or image.mode.startswith("I")
    pixels = _of_deep(image, background) if deep else np.asarray(_of_bytes(image, background))
    transpose, flip_rows, flip_columns = _turns(image)
    pixels = pixels.transpose(1, 0, 2) if transpose else pixels
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def turns(encoded: bytes) -> tuple[bool, bool, bool]:
    """What brings the stored rows and columns of an image file upright: swap them, then mirror rows, then columns."""
    try:
        with opened(io.BytesIO(encoded)) as image:
            return _turns(image)
    except DataError:
        return False, False, False


@contextmanager
def opened(file: BinaryIO) -> Generator[Any, None, None]:
    """The Pillow image of a file, of which nothing but the header is read yet; errors inside become DataError."""
    from PIL import Image

    start = file.read(12)
    file.seek(0)
    try:
        with Image.open(file, formats=_formats(start)) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise TooManyPixels(_too_many(MAX_PIXELS)) from error
    except Image.UnidentifiedImageError as error:
        raise DataError(_unidentified(start)) from error
    except Exception as error:  # Pillow's decoders let errors of many kinds through where a file is damaged
        raise DataError((str(error) or type(error).__name__).splitlines()[0]) from error


def _too_many(most: int) -> str:
    return f"its header claims more than {most:,} pixels: make the picture smaller"


def _formats(start: bytes) -> tuple[str, ...]:
    """`FORMATS`; HEIF where it is that, so that its decoder is loaded for nothing else."""
    if not HAS_HEIF or start[4:12] not in HEIC_MARKS:
        return FORMATS
    _register_heif()
    return ("HEIF",)


@functools.cache
def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _unidentified(start: bytes) -> str:
    """Why Pillow knows nothing of a file that begins so."""
    if not start:
        return "it is empty"
    if start[4:12] in HEIC_MARKS and not HAS_HEIF:
        return f"it is HEIC, which needs {INSTALL_HEIF}"
    return f"its content is none of {', '.join(SUFFIXES)}, or is damaged at its start"


def _of_bytes(image: Any, background: Background) -> Any:
    """The Pillow image in RGB, of one with 8 bits a channel."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    if background == "drop":
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=image)
    return canvas


def _of_deep(image: Any, background: Background) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of one that is grey with integers of 16 or 32 bits, or with floating point."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    grey = _scaled_floats(values) if image.mode == "F" else _scaled_integers(values, tags)
    if tags.get(PHOTOMETRIC) == 0:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if transparent is not None and background != "drop":
        from PIL import ImageColor

        grey[values == transparent] = ImageColor.getcolor(background, "L")
    return np.repeat(grey[..., None], 3, axis=-1)


def _scaled_integers(values: Integer[np.ndarray, "h w"], tags: Any) -> UInt8[np.ndarray, "h w"]:
    """The highest 8 bits of what the type holds: TIFF's tags say which it is, other formats mean 16 bits."""
    bits = tags.get(BITS, (16,))[0]
    if tags.get(SAMPLE_FORMAT, (1,))[0] == 2:
        values = values - values.dtype.type(-1 << (bits - 1))  # the least becomes 0; of 32 bits, as unsigned ones
    unsigned = values.view(f"u{values.dtype.itemsize}") if bits == 32 else values
    if bits < 32 and values.size and not 0 <= values.min() <= values.max() < 2**bits:
        raise DataError(f"its integers go from {values.min()} to {values.max()}: scale them to 0 to 255")
    return (unsigned >> (bits - 8)).astype(np.uint8)


def _scaled_floats(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """From the least to the greatest finite value; one alone is black, and so is what is no number."""
    finite = np.isfinite(values)
    low = float(values.min(where=finite, initial=np.inf))
    span = float(values.max(where=finite, initial=-np.inf)) - low
    scaled = np.zeros(values.shape, np.uint8)
    if not 0 < span < np.inf:
        return scaled
    for start in range(0, len(values), ROWS):
        share = (values[start : start + ROWS].astype(np.float64) - low) / span
        scaled[start : start + ROWS] = np.round(np.nan_to_num(np.clip(share, 0, 1)) * 255)
    return scaled


def _turns(image: Any) -> tuple[bool, bool, bool]:
    """The numbers are those of EXIF 2.3, 4.6.4: 5 to 8 are stored lying down."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF is no reason to refuse the picture
        found = 1
    number = found if found in range(1, 9) else 1
    return number >= 5, number in (3, 4, 7, 8), number in (2, 3, 6, 7)
