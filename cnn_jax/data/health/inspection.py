"""What one image file is: read once, identified by its header, decoded by the reader that training uses."""

import functools
import hashlib
import io
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn_jax.data.decode import decode
from cnn_jax.data.health.duplicates import fingerprint
from cnn_jax.data.health.findings import EXTREME_ASPECT, HUGE, TINY
from cnn_jax.data.pillow import FORMATS, ORIENTATION
from cnn_jax.data.tensorflow import first_line, read_errors, tf

RECOGNISED = (*FORMATS, "TIFF", "AVIF", "ICO", "PPM")
"""Formats, as Pillow names them, whose headers are read: the ones that training reads, and those that a file with the
suffix of one of them may turn out to have. No others: some of Pillow's decoders start programs."""

SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "BMP": (".bmp",), "GIF": (".gif",)}
PNG_DEPTH = 24
"""Byte of a PNG file that holds the bits of a channel; Pillow says 16 of greyscale only."""

SMALLEST = 64
"""Pixels of the shorter side that a JPEG picture keeps when it is decoded to be compared."""


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image file say."""

    format: str
    width: int
    height: int
    traits: tuple[str, ...]
    """Kinds of findings."""


@dataclass(frozen=True)
class Facts:
    """What an image file is."""

    digest: bytes
    """SHA-256 of the content."""
    pixels: int
    """As the header says; 0 where it says nothing."""
    found: tuple[tuple[str, str], ...]
    """Kind and detail of each finding."""
    fingerprint: bytes | None
    """See `duplicates.fingerprint`."""

    @property
    def is_readable(self) -> bool:
        """Whether training can use it."""
        return not {"unreadable", "empty_file", "too_many_pixels"} & {kind for kind, _ in self.found}


def inspect(read: Callable[[], bytes], suffix: str | None) -> Facts:
    """The facts of the file whose content `read` gives; `suffix` is that of its name, None where it has no name."""
    try:
        content = read()
    except OSError as error:
        return Facts(b"", 0, (("unreadable", error.strerror or str(error)),), None)
    digest = hashlib.sha256(content).digest()
    if not content:
        return Facts(digest, 0, (("empty_file", ""),), None)
    try:
        header = read_header(content)
    except TooManyPixels as error:
        return Facts(digest, 0, (("too_many_pixels", f"{error}; the file has {len(content):,} bytes"),), None)
    found = [] if header is None else _of_header(header, suffix)
    pixels = 0 if header is None else header.width * header.height
    try:
        picture = small_picture(content, header)
    except read_errors() as error:
        return Facts(digest, pixels, (*found, ("unreadable", first_line(error))), None)
    blank = bool((picture == picture[:1, :1]).all())
    mark = None if blank or (header and min(header.width, header.height) < TINY) else fingerprint(picture)
    return Facts(digest, pixels, (*found, ("blank", "")) if blank else tuple(found), mark)


class TooManyPixels(ValueError):  # noqa: N818  (named for what it says)
    """More than `pillow.MAX_PIXELS`, where Pillow refuses as well."""


def read_header(content: bytes) -> Header | None:
    """None where the content is no image of a format that Pillow knows.

    Raises:
        TooManyPixels: the header claims more than training would decode.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=RECOGNISED) as image:
            kind = "JPEG" if image.format == "MPO" else str(image.format)  # JPEG with a second picture after the first
            return Header(kind, image.width, image.height, tuple(_traits(image, content)))
    except Image.DecompressionBombError as error:
        raise TooManyPixels(str(error).partition(",")[0]) from error
    except Exception:  # Pillow's parsers let errors of many kinds through where a file is damaged
        return None


def _traits(image: Any, content: bytes) -> list[str]:
    mode = image.mode
    deep = mode.startswith("I") or (image.format == "PNG" and content[PNG_DEPTH] == 16)
    has = {
        "exif_rotated": image.getexif().get(ORIENTATION, 1) in range(2, 9),
        "cmyk": mode == "CMYK",
        "alpha": mode in ("RGBA", "LA", "PA") or "transparency" in image.info,
        "sixteen_bit": deep,
        "palette": mode in ("P", "PA") and image.format != "GIF",
        "greyscale": mode[:1] in ("L", "1", "I"),
        "animated": getattr(image, "is_animated", False) and image.format != "MPO",
    }
    return [name for name, holds in has.items() if holds]


def _of_header(header: Header, suffix: str | None) -> list[tuple[str, str]]:
    shorter, longer = sorted((header.width, header.height))
    size = f"{header.width} x {header.height} pixels"
    found = [(name, size) for name in header.traits]
    if suffix is not None and suffix.lower() not in SUFFIXES.get(header.format, ()):
        found.append(("extension_lies", f"it is {header.format}"))
    if shorter < TINY:
        found.append(("tiny", size))
    if shorter * longer > HUGE:
        found.append(("huge", size))
    if longer > EXTREME_ASPECT * shorter:
        found.append(("extreme_aspect", size))
    return found


def small_picture(content: bytes, header: Header | None, smallest: int = SMALLEST) -> np.ndarray:
    """The picture as training reads it, uint8[h, w, 3]; a JPEG up to eight times smaller, but not below `smallest`.

    Raises:
        one of `read_errors()`: training cannot read it.
    """
    fits = 1 if header is None else min(header.width, header.height) // smallest
    decoder = _decoder(max(ratio for ratio in (1, 2, 4, 8) if ratio <= max(fits, 1)))
    return decoder(tf().constant(content)).numpy()


def _decoder(ratio: int) -> Any:
    with _one_traces:
        return _trace(ratio)


_one_traces = threading.Lock()
"""Threads that ask for the same graph at the same time would each make one."""


@functools.cache
def _trace(ratio: int) -> Any:
    """`decode` as a graph: the checks of the content are many small operations."""
    graph = tf().function(lambda content: decode(content, ratio))
    return graph.get_concrete_function(tf().TensorSpec((), tf().string))


def suffix_of(id_: str) -> str:
    """With the dot, as written."""
    return os.path.splitext(id_)[1]
