"""A process that decodes pictures for the server: encoded pictures come in, pixels go out.

    python -m cnn_jax.serving.decoder SETTINGS          (started by the server alone)

What decodes is native code and sees bytes from anyone. A picture that ends it or never ends, or wants all the memory,
costs this process, which the server replaces, and no other picture.

A message is a head, its kind and the length of its content, and the content. The server sends pictures one at a time;
each is answered with pixels or with the reason why there are none.
"""

import json
import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from cnn_jax.config.data import Background
from cnn_jax.config.image_size import from_json
from cnn_jax.data import pillow
from cnn_jax.data.preprocess import Resize
from cnn_jax.errors import DataError

HEAD = struct.Struct(">BI")
"""Kind, and bytes of the content."""
READY, PICTURE, PIXELS, ERROR = range(4)

MOST_SCANS = 100
"""Of a JPEG. Each may go over all of its pixels and be a few bytes long; libjpeg itself writes ten."""
BYTES_A_PIXEL = 24
"""What decoding takes at most, as measured of WebP and of pictures with transparency."""
SPARE_BYTES = 512 * 2**20
"""For threads of the decoders, and what they keep."""


@dataclass(frozen=True)
class Recipe:
    """How a picture becomes what a network takes."""

    background: Background
    resize: Resize

    @classmethod
    def of(cls, background: Background, resize: dict[str, Any]) -> "Recipe":
        """From what `settings` says of it."""
        return cls(background, Resize(**{**resize, "size": from_json(resize["size"])}))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the pixels."""
        return self.resize.shape


def settings(recipes: Sequence[Recipe], most_pixels: int) -> str:
    """The argument of the process."""
    return json.dumps({"recipes": [asdict(recipe) for recipe in recipes], "most_pixels": most_pixels})


def main(argv: Sequence[str]) -> int:
    """Answer until there is nothing more to read."""
    given = json.loads(argv[0])
    recipes = [Recipe.of(**recipe) for recipe in given["recipes"]]
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    _warm_up(recipes)
    _confine(given["most_pixels"])
    _write(answers, READY, b"")
    pictures = sys.stdin.buffer
    while len(head := pictures.read(HEAD.size)) == HEAD.size:
        encoded = pictures.read(HEAD.unpack(head)[1])
        try:
            kind, content = PIXELS, decode(encoded, recipes, given["most_pixels"])
        except DataError as error:
            kind, content = ERROR, str(error).encode("utf-8", "backslashreplace")
        _write(answers, kind, content)
    return 0


def decode(encoded: bytes, recipes: Sequence[Recipe], most_pixels: int) -> bytes:
    """A picture as each recipe has it, one after the other.

    Raises:
        DataError: why it cannot be read.
    """
    if encoded.startswith(b"\xff\xd8") and encoded.count(b"\xff\xda") > MOST_SCANS:
        raise DataError(f"it is a JPEG of more than {MOST_SCANS} scans: save it anew")
    seen: dict[Background, UInt8[np.ndarray, "h w 3"]] = {}
    try:
        for recipe in recipes:
            if recipe.background not in seen:
                seen[recipe.background] = pillow.decode(encoded, recipe.background, most_pixels)
        return b"".join(recipe.resize.array(seen[recipe.background]).tobytes() for recipe in recipes)
    except MemoryError as error:
        raise DataError("it takes more memory than a picture may: make it smaller") from error


def _warm_up(recipes: Sequence[Recipe]) -> None:
    """Load what decoding and resizing take, before there is a bound on memory and a picture that waits."""
    from io import BytesIO

    from PIL import Image

    for kind in ("JPEG", "PNG"):
        file = BytesIO()
        Image.new("RGB", (9, 7)).save(file, kind)
        decode(file.getvalue(), recipes, 10**4)


def _confine(most_pixels: int) -> None:
    """From now on, this process writes no file, leaves none behind, says nothing and takes no more than its memory."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # libraries write about damaged pictures, in words from the pictures
        os.dup2(nothing, stream.fileno())
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        used = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) * 1024
        most = used + most_pixels * BYTES_A_PIXEL + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _write(answers: BinaryIO, kind: int, content: bytes) -> None:
    answers.write(HEAD.pack(kind, len(content)) + content)
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
