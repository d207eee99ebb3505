"""Odd pictures by number: every format and mode, damaged by a seed; and what became of reading each.

`python -m tests.data.odd FIRST COUNT` reads so many in this process, and prints what came of it as JSON.
"""

import io
import json
import re
import resource
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from cnn_jax.data import pillow
from cnn_jax.errors import DataError
from tests.data.pictures import decoders, encode, oriented, photograph, png_of_16_bits, see_through, tiff

BACKGROUNDS = ("white", "black", "drop")
TURNED = {"exif": oriented(6)}
LARGE = 10**7
"""Values of a picture that a damaged header has made so large that the reference would take the memory."""

GOOD = ("Pillow's pixels", "deeper than 8 bits", "an error with a reason", "large, and the same in both ways")


def whole() -> dict[str, bytes]:
    """A small picture of each kind, as it should be."""
    rgb, rgba, rng = photograph(12, 10), see_through(12, 10), np.random.default_rng(0)
    shorts = rng.integers(0, 2**16, (12, 10)).astype(np.uint16)
    more: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90)]}
    pictures: list[tuple[str, Image.Image, dict[str, Any]]] = [
        *(("JPEG", rgb.convert(mode), TURNED) for mode in ("RGB", "L", "CMYK")),
        ("JPEG", rgb, {"progressive": True}),
        ("JPEG", rgb, {"icc_profile": bytes(3000), **TURNED}),
        *(("PNG", picture, {}) for picture in (rgb, rgba, rgba.convert("LA"), rgb.convert("L"), rgb.convert("1"))),
        ("PNG", rgb.quantize(9), {"bits": 4, "transparency": 2}),
        ("PNG", rgba.quantize(9), TURNED),
        ("PNG", Image.fromarray(shorts), {}),
        *(("BMP", rgb.convert(mode), {}) for mode in ("RGB", "L", "P", "1")),
        ("GIF", rgb, more),
        ("GIF", rgba.quantize(9), {"transparency": 3}),
        ("WEBP", rgb, TURNED),
        ("WEBP", rgba, {"lossless": True}),
        ("WEBP", rgb, more),
        ("AVIF", rgb, TURNED),
        ("AVIF", rgba, {}),
        *(("TIFF", rgb.convert(mode), {}) for mode in ("RGB", "L", "P", "1", "CMYK", "YCbCr")),
        ("TIFF", rgba, {"compression": "tiff_lzw", **TURNED}),
        ("TIFF", rgb, {"compression": "tiff_adobe_deflate", **more}),
        ("TIFF", rgb, {"compression": "jpeg"}),
        ("TIFF", rgb.convert("1"), {"compression": "group4"}),
        ("TIFF", Image.fromarray(shorts), {"compression": "packbits"}),
        *(("PPM", rgb.convert(mode), {}) for mode in ("RGB", "L", "1")),
        ("PPM", Image.fromarray(shorts), {}),
        ("ICO", rgba.resize((16, 16)), {"bitmap_format": "bmp"}),
        ("ICO", rgba.resize((16, 16)), {}),
    ]
    found = {
        f"{number} {kind} {image.mode}": encode(image, kind, **o) for number, (kind, image, o) in enumerate(pictures)
    }
    floats = rng.normal(0, 1, (12, 10)).astype(np.float32)
    return {
        **found,
        "PNG RGB of 16 bits": png_of_16_bits(rng.integers(0, 2**16, (12, 10, 3)).astype(np.uint16)),
        "PNG grey of 16 bits with a key": png_of_16_bits(shorts[..., None], transparent=b"\1\2"),
        "TIFF of 12 bits": tiff(shorts >> 4, 12, 1),
        "TIFF signed": tiff(shorts.view(np.int16), 16, 2),
        "TIFF of 32 bits": tiff(shorts.astype(np.uint32), 32, 1),
        "TIFF of floats": tiff(floats, 32, 3),
        "PPM of text": b"P3 3 2 255\n" + b" ".join(b"%d" % value for value in range(18)),
        "PFM": b"Pf\n10 12\n-1.0\n" + floats.tobytes(),
    }


def damaged(good: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Bits flipped, in the header or anywhere, the end cut off, a piece lost, or a piece of another file put in."""
    data, how = bytearray(good), rng.integers(8)
    if how == 0:
        return good
    if how == 1:
        del data[rng.integers(len(data)) :]
    elif how == 2:
        start = rng.integers(len(data))
        del data[start : start + rng.integers(1, 40)]
    elif how == 3:
        other = others[rng.integers(len(others))]
        start, place = rng.integers(len(other)), rng.integers(len(data))
        piece = other[start : start + rng.integers(1, 60)]
        data[place : place + (len(piece) if rng.random() < 0.5 else 0)] = piece
    elif how == 4:
        data[: rng.integers(2, 12)] = others[rng.integers(len(others))][:12]
    else:
        reach = len(data) if how == 5 else min(80 if how == 6 else 200, len(data))
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(reach)] = rng.integers(256)
    return bytes(data)


def reference(content: bytes, background: str) -> np.ndarray | None:
    """What Pillow and the definition of alpha make of it, uint8[h, w, 3]; None of depths that `convert` cuts off."""
    with Image.open(io.BytesIO(content), formats=pillow.FORMATS) as image:
        try:
            upright = ImageOps.exif_transpose(image)
        except Exception:  # damaged EXIF is no reason to refuse the picture
            upright = image.copy()
    if upright.mode == "F" or upright.mode.startswith("I"):
        return None
    if not upright.has_transparency_data:
        return np.asarray(upright.convert("RGB"))
    values = np.asarray(upright.convert("RGBA")).astype(np.float64)
    if background == "drop":
        return values[..., :3].astype(np.uint8)
    share = values[..., 3:] / 255
    return np.round(values[..., :3] * share + (255 if background == "white" else 0) * (1 - share)).astype(np.uint8)


def outcome(content: bytes, background: Any, ways: dict[str, Any]) -> str:
    """What came of reading it in both ways, and in Pillow's own."""
    found: dict[str, Any] = {}
    for name, decoder in ways.items():
        try:
            found[name] = decoder(content, background)
        except DataError as error:
            found[name] = str(error)
        except tf.errors.OpError as error:
            found[name] = str(error.message)
    here, there = found["Pillow"], found["TensorFlow"]
    if isinstance(here, str) or isinstance(there, str):
        if not isinstance(here, str) or not isinstance(there, str):
            return f"one alone reads it: Pillow {_short(here)}, TensorFlow {_short(there)}"
        return "an error with a reason" if here and there and "\n" not in here else f"no reason: {here!r}, {there!r}"
    if not np.array_equal(here, there):
        return "other pixels in TensorFlow"
    if here.size > LARGE:
        return "large, and the same in both ways"
    try:
        expected = reference(content, background)
    except Exception as error:
        return f"Pillow alone refuses it: {type(error).__name__}: {error}"
    if expected is None:
        return "deeper than 8 bits"
    return "Pillow's pixels" if np.array_equal(here, expected) else "other pixels than Pillow's"


def _short(found: Any) -> str:
    return re.sub(r"\{\{.*?\}\}", "", found)[:80] if isinstance(found, str) else f"reads {found.shape}"


def main(first: int, count: int) -> dict[str, Any]:
    """Read the pictures of these numbers, as if each had the suffix of another format."""
    warnings.simplefilter("ignore")
    goods, ways = list(whole().items()), decoders()
    contents = [content for _, content in goods]
    counts: Counter[str] = Counter()
    bad: list[str] = []
    slowest = 0.0
    for background in BACKGROUNDS:  # compiled before memory and time are looked at
        outcome(contents[0], background, ways)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        name, good = goods[number % len(goods)]
        content = damaged(good, contents, rng)
        if len(sys.argv) > 3:
            Path(sys.argv[3]).write_bytes(content)  # what the process was at when it ended
        begun = time.process_time()
        what = outcome(content, BACKGROUNDS[number % 3], ways)
        slowest = max(slowest, time.process_time() - begun)
        counts[what.partition(":")[0]] += 1
        if what not in GOOD:
            bad.append(f"{number} ({name}): {what}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"counts": counts, "bad": bad, "slowest_seconds": round(slowest, 2), "megabytes": round(grown)}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
