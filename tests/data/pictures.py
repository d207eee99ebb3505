"""Made-up pictures, encoded in every way, and both ways back to their pixels."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from cnn_jax.config.data import Background
from cnn_jax.data import pillow
from cnn_jax.data.decode import decode

Decoder = Callable[[bytes, Background], np.ndarray]


def decoders() -> dict[str, Decoder]:
    """Both ways to the pixels."""
    compiled: dict[Background, Callable] = {}

    def in_graph(encoded: bytes, background: Background) -> np.ndarray:
        if background not in compiled:
            graph = tf.function(lambda content: decode(content, background))
            compiled[background] = graph.get_concrete_function(tf.TensorSpec((), tf.string))
        return compiled[background](tf.constant(encoded)).numpy()

    return {"TensorFlow": in_graph, "Pillow": pillow.decode}


def photograph(height: int = 37, width: int = 53) -> Image.Image:
    """Something smooth with some noise."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(x / 9 + c) * np.cos(y / (7 + c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8))


def see_through(height: int = 37, width: int = 53) -> Image.Image:
    """The same with an alpha that rises from left to right, over 0 and 255."""
    picture = photograph(height, width)
    alpha = np.broadcast_to(np.linspace(0, 255, width).round().astype(np.uint8), (height, width))
    picture.putalpha(Image.fromarray(alpha))
    return picture


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def read_by_pillow(encoded: bytes) -> np.ndarray:
    """The reference: Pillow's own way to pixels that are the right way up."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def png_of_16_bits(samples: np.ndarray, transparent: bytes = b"") -> bytes:
    """A PNG file of uint16[h, w, channels], which Pillow cannot write for more than one channel."""
    height, width, channels = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    key = chunk(b"tRNS", transparent) if transparent else b""
    body = chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(values: np.ndarray, bits: int, sample_format: int, photometric: int = 1) -> bytes:
    """A TIFF file of one channel, whose tags say how many bits a sample of `values`' bytes has, and of which kind."""
    pixels = values.astype(values.dtype.newbyteorder("<")).tobytes()
    if bits == 12:  # two samples in three bytes, the highest bits first
        digits = "".join(f"{value:03x}" for value in values.ravel())
        pixels = bytes.fromhex(digits)
    height, width = values.shape
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: height,
        279: len(pixels),
        339: sample_format,
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory
