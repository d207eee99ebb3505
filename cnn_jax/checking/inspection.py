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
from jaxtyping import UInt8

from cnn_jax.checking.duplicates import fingerprint
from cnn_jax.checking.findings import DARK, EXTREME_ASPECT, HUGE, TINY
from cnn_jax.config.data import Background
from cnn_jax.data.decode import decode
from cnn_jax.data.pillow import BITS, ORIENTATION, SUFFIXES, TooManyPixels, opened
from cnn_jax.errors import DataError
from cnn_jax.io.tensorflow import first_line, read_errors, tf

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


def inspect(read: Callable[[], bytes], suffix: str | None, background: Background) -> Facts:
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
        claim = str(error.__cause__).partition(",")[0]
        return Facts(digest, 0, (("too_many_pixels", f"{claim}; the file has {len(content):,} bytes"),), None)
    found = [] if header is None else _of_header(header, suffix)
    pixels = 0 if header is None else header.width * header.height
    try:
        picture = small_picture(content, header, background)
    except read_errors() as error:
        return Facts(digest, pixels, (*found, ("unreadable", first_line(error))), None)
    blank = bool((picture == picture[:1, :1]).all())
    mark = None if blank or (header and min(header.width, header.height) < TINY) else fingerprint(picture)
    if blank:
        found.append(("blank", ""))
    elif header and "sixteen_bit" in header.traits and picture.max() < DARK:
        found.append(("nearly_black", f"the brightest value is {picture.max()} of 255"))
    return Facts(digest, pixels, tuple(found), mark)


def read_header(content: bytes) -> Header | None:
    """None where the content is no image of a format that Pillow knows.

    Raises:
        TooManyPixels: the header claims more than training would decode.
    """
    try:
        with opened(io.BytesIO(content)) as image:
            kind = "JPEG" if image.format == "MPO" else str(image.format)  # JPEG with a second picture after the first
            return Header(kind, image.width, image.height, tuple(_traits(image, content)))
    except TooManyPixels:
        raise
    except DataError:
        return None


def _traits(image: Any, content: bytes) -> list[str]:
    mode = image.mode
    bits = getattr(image, "tag_v2", {}).get(BITS, (8,))
    deep = mode.startswith("I") or (image.format == "PNG" and content[PNG_DEPTH] == 16) or max(bits) > 8
    has = {
        "exif_rotated": image.getexif().get(ORIENTATION, 1) in range(2, 9),
        "cmyk": mode == "CMYK",
        "alpha": image.has_transparency_data,
        "sixteen_bit": deep and mode != "F",
        "floating_point": mode == "F",
        "palette": mode in ("P", "PA") and image.format != "GIF",
        "greyscale": mode in ("L", "LA", "1", "F") or mode.startswith("I"),
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


def small_picture(
    content: bytes, header: Header | None, background: Background, smallest: int = SMALLEST
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as training reads it; a JPEG up to eight times smaller, but not below `smallest`.

    Raises:
        one of `read_errors()`: training cannot read it.
    """
    fits = 1 if header is None else min(header.width, header.height) // smallest
    decoder = _decoder(max(ratio for ratio in (1, 2, 4, 8) if ratio <= max(fits, 1)), background)
    return decoder(tf().constant(content)).numpy()


def _decoder(ratio: int, background: Background) -> Any:
    with _one_traces:
        return _trace(ratio, background)


_one_traces = threading.Lock()
"""Threads that ask for the same graph at the same time would each make one."""


@functools.cache
def _trace(ratio: int, background: Background) -> Any:
    """`decode` as a graph: the checks of the content are many small operations."""
    graph = tf().function(lambda content: decode(content, background, ratio))
    return graph.get_concrete_function(tf().TensorSpec((), tf().string))


def suffix_of(id_: str) -> str:
    """With the dot, as written."""
    return os.path.splitext(id_)[1]
