"""Bytes to pixels: every kind of file as Keras reads it, the right way up; damage and bombs are errors."""

import io
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cnn_jax.data import pillow
from cnn_jax.data.paths import readable_batches, why_unreadable
from cnn_jax.data.pillow import MAX_PIXELS
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import FileImages
from cnn_jax.errors import DataError
from tests.data.pictures import decoders, encode, oriented, photograph, png_of_16_bits, read_by_pillow


@pytest.fixture(scope="module", params=["TensorFlow", "Pillow"])
def decode_either(request: pytest.FixtureRequest) -> Callable[[bytes], np.ndarray]:
    """Both ways to the pixels, as Keras has them: what is see-through is dropped."""
    decoder = decoders()[request.param]
    return lambda encoded: decoder(encoded, "drop")


def read_by_keras(encoded: bytes) -> np.ndarray:
    import keras

    return np.asarray(keras.utils.load_img(io.BytesIO(encoded)))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "RGB", {"subsampling": 0, "quality": 95}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("PNG", "L", {}),
        ("PNG", "1", {}),
        ("PNG", "P", {}),
        ("PNG", "P", {"transparency": 3}),
        ("PNG", "P", {"bits": 4}),
        ("BMP", "RGB", {}),
        ("BMP", "L", {}),
        ("BMP", "P", {}),
        ("BMP", "1", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {}),
    ],
)
def test_pixels_are_those_of_load_img(decode_either, kind: str, mode: str, options: dict) -> None:
    picture = photograph().quantize(12) if options.get("bits") else photograph().convert(mode)
    encoded = encode(picture, kind, **options)
    pixels = decode_either(encoded)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, read_by_keras(encoded))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_of_16_bits_the_high_byte_is_taken(decode_either, channels: int) -> None:
    samples = np.random.default_rng(0).integers(0, 2**16, (7, 9, channels), dtype=np.uint16)
    high = (samples >> 8).astype(np.uint8)
    expected = high[..., :3] if channels > 2 else np.repeat(high[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(decode_either(png_of_16_bits(samples)), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_upright(decode_either, kind: str, orientation: int) -> None:
    encoded = encode(photograph(), kind, exif=oriented(orientation))  # 0 and 9 have no meaning
    np.testing.assert_array_equal(decode_either(encoded), read_by_pillow(encoded))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_leaves_a_picture_as_it_is(decode_either) -> None:
    encoded = encode(photograph(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff\xff\xff")
    np.testing.assert_array_equal(decode_either(encoded), read_by_keras(encoded))


@pytest.mark.long
def test_the_three_photographs_that_lie_on_their_side_are_upright(decode_either, real_data: Path) -> None:
    for number in (5874, 5935, 5978):
        encoded = (real_data / "sign_language_digits" / "7" / f"IMG_{number}.JPG").read_bytes()
        quarter_turned = np.rot90(read_by_keras(encoded), k=-1)
        np.testing.assert_array_equal(decode_either(encoded), quarter_turned)


def test_real_photographs_have_the_pixels_of_load_img(decode_either, real_data: Path) -> None:
    for path in sorted((real_data / "cats_and_dogs" / "train" / "cats").iterdir())[:20]:
        encoded = path.read_bytes()
        np.testing.assert_array_equal(decode_either(encoded), read_by_keras(encoded))


def bomb(kind: str, side: int = 30_000) -> bytes:
    """A small file whose header claims 900 million pixels."""
    good = bytearray(encode(photograph(16, 16).convert("P" if kind == "GIF" else "RGB"), kind))
    if kind == "PNG":
        good[16:24] = struct.pack(">II", side, side)
        good[29:33] = struct.pack(">I", zlib.crc32(good[12:29]))
    elif kind == "JPEG":
        frame = good.index(b"\xff\xc0")
        good[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    elif kind == "BMP":
        good[18:26] = struct.pack("<ii", side, side)
    else:
        good[6:10] = struct.pack("<HH", side, side)
    return bytes(good)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_a_header_that_claims_too_many_pixels_is_refused_before_they_are_allocated(kind: str, decode_either) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((tf.errors.OpError, DataError), match=f"claims more than {MAX_PIXELS:,} pixels"):
        decode_either(bomb(kind))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 100e6


def mutated(good: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped (in the header or anywhere), the end cut off, a piece lost, or another header put before."""
    data, how = bytearray(good), rng.integers(5)
    if how == 0:
        del data[rng.integers(len(data)) :]
    elif how == 1:
        start = rng.integers(len(data))
        del data[start : start + rng.integers(1, 40)]
    elif how == 2:
        data[:8] = rng.choice([b"\xff\xd8\xff\xe0\0\x10JF", b"\x89PNG\r\n\x1a\n", b"GIF89a\x10\0", b"BM\0\0\0\0\0\0"])
    else:
        reach = len(data) if how == 3 else min(64, len(data))
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(reach)] ^= 1 << rng.integers(8)
    return bytes(data)


@pytest.fixture(scope="module")
def mutants(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """1,000 damaged files, and four bombs."""
    folder, rng = tmp_path_factory.mktemp("mutants"), np.random.default_rng(0)
    small = photograph(12, 10)
    seeds = [
        encode(small, "JPEG", exif=oriented(6)),
        encode(small, "JPEG", progressive=True),
        encode(small.convert("CMYK"), "JPEG"),
        encode(small.convert("RGBA"), "PNG"),
        encode(small.quantize(9), "PNG", bits=4, transparency=2),
        encode(small.convert("P"), "BMP"),
        encode(small, "BMP"),
        encode(small, "GIF", save_all=True, append_images=[small.rotate(90)]),
        encode(small, "WEBP"),
    ]
    contents = [mutated(seeds[i % len(seeds)], rng) for i in range(1000)]
    paths = []
    for i, content in enumerate(contents + [bomb(kind) for kind in ("PNG", "JPEG", "BMP", "GIF")]):
        paths.append(folder / f"{i:04d}.jpg")
        paths[-1].write_bytes(content)
    return paths


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata
def test_a_thousand_damaged_files_are_read_or_named_and_none_crashes(mutants: list[Path]) -> None:
    images = FileImages.of([str(path) for path in mutants], "white")
    read: set[int] = set()
    for batch in readable_batches(images, len(mutants), Resize(8), 64):
        assert batch["image"].shape == (64, 8, 8, 3)
        read |= set(batch["index"][batch["mask"]].tolist())
    named = {i: why_unreadable(images, i) for i in range(len(mutants)) if i not in read}
    assert 100 < len(read) < 900
    assert {1000, 1001, 1002, 1003} <= set(named)
    assert all(reason and reason != "it could not be read before" for reason in named.values())


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata
def test_what_both_ways_read_of_damaged_files_is_the_same(mutants: list[Path]) -> None:
    in_graph = decoders()["TensorFlow"]
    for path in [*mutants[:-4:4], *mutants[-4:]]:  # of every kind, since 4 and 9 kinds have no common divisor
        try:
            first: np.ndarray | None = in_graph(path.read_bytes(), "white")
        except tf.errors.InvalidArgumentError:
            first = None
        try:
            second: np.ndarray | None = pillow.decode(path.read_bytes(), "white")
        except DataError:
            second = None
        assert (first is None) == (second is None), path.name
        if first is not None:
            np.testing.assert_array_equal(first, second, err_msg=path.name)
