"""Copies are found whatever was done to them, and nothing else; comparing is exact though not each with each."""

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from PIL import Image, ImageEnhance

from cnn_jax.checking.check import check
from cnn_jax.checking.duplicates import COLOUR_BYTES, HASH_BYTES, NEAR, fingerprint, groups, near_pairs
from cnn_jax.checking.inspection import read_header, small_picture
from cnn_jax.checking.listing import list_images
from cnn_jax.config import DataConfig
from tests.checking.defects import photograph

COPIES = {
    "recompressed": (lambda image: image, 40),
    "halved": (lambda image: image.resize((image.width // 2, image.height // 2)), 75),
    "doubled": (lambda image: image.resize((image.width * 2, image.height * 2)), 90),
    "squashed": (lambda image: image.resize((224, 224)), 90),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.15), 85),
    "greyscale": (lambda image: image.convert("L"), 85),
}


def bits(mark: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(mark[:HASH_BYTES], np.uint8))


def distance(one: bytes, other: bytes) -> int:
    return int((bits(one) != bits(other)).sum())


def rows(*marks: bytes) -> np.ndarray:
    return np.stack([np.frombuffer(mark, np.uint8) for mark in marks])


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()


def mark_of(content: bytes) -> bytes:
    return fingerprint(small_picture(content, read_header(content), "white"))


def test_the_hash_is_the_sign_against_the_median_of_the_lowest_frequencies() -> None:
    picture = np.asarray(photograph(0, (32, 32)))
    brightness = np.asarray(Image.fromarray(picture).convert("YCbCr"), np.float64)[..., 0]
    lowest = scipy.fft.dctn(brightness, norm=None)[:16, :16].ravel()[1:]
    np.testing.assert_array_equal(bits(fingerprint(picture))[:255], lowest > np.median(lowest))


def test_pairs_are_those_of_comparing_each_with_each() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (300, HASH_BYTES), dtype=np.uint8)
    flips = np.zeros((300, HASH_BYTES * 8), np.uint8)
    for i in range(100):  # copies of the first hundred, 0 to 40 bits away, spread over the parts as evenly as can be
        number = i % (NEAR + 10)
        flips[100 + i, (np.arange(number) * 16 + rng.integers(16, size=number)) % 256] = 1
    hashes[100:200] = hashes[:100] ^ np.packbits(flips[100:200], axis=1)
    marks = np.unique(np.hstack([hashes, np.full((300, COLOUR_BYTES), 128, np.uint8)]), axis=0)
    unpacked = np.unpackbits(marks[:, :HASH_BYTES], axis=1).astype(int)
    expected = np.argwhere(np.triu((unpacked[:, None] != unpacked).sum(-1) <= NEAR, 1))
    found = np.concatenate(list(near_pairs(marks)))
    assert len(expected) > 50
    assert {tuple(sorted(pair)) for pair in found.tolist()} == {tuple(pair) for pair in expected.tolist()}


def test_equal_shapes_in_other_colours_are_no_copies_but_a_greyscale_one_is() -> None:
    shape = np.asarray(photograph(1, (64, 64)).convert("L"), np.float64)
    red, green = (np.stack([shape * weight for weight in weights], -1) for weights in ((1, 0, 0), (0, 0.509, 0)))
    marks = [fingerprint(np.uint8(picture)) for picture in (red, green, np.stack([shape * 0.299] * 3, -1))]
    assert distance(marks[0], marks[1]) <= NEAR
    assert len(np.concatenate(list(near_pairs(rows(*marks[:2]))))) == 0
    assert len(np.unique(np.concatenate(list(near_pairs(rows(*marks)))))) == 3


def test_copies_of_copies_are_one_group_and_what_is_not_compared_is_in_none() -> None:
    base = np.zeros(256, np.uint8)
    chain = [base.copy() for _ in range(4)]
    chain[1][:20], chain[2][:40], chain[3][100:] = 1, 1, 1
    marks = np.hstack([np.packbits(chain, axis=1), np.full((4, COLOUR_BYTES), 128, np.uint8)])
    digests = np.asarray([np.void(bytes([i]) * 32) for i in range(4)])
    assert [group.tolist() for group in groups(digests, marks, np.ones(4, bool))] == [[0, 1, 2]]
    assert groups(digests, marks, np.asarray([True, False, True, True])) == []
    digests[3] = digests[1]
    assert [g.tolist() for g in groups(digests, marks, np.asarray([True, False, True, False]))] == [[1, 3]]


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", COPIES)
def test_real_photographs_are_found_after_what_programs_do_to_them(name: str, real_data: Path) -> None:
    change, quality = COPIES[name]
    for folder in ("cats_and_dogs/validation/dogs", "sign_language_digits/3"):
        for path in sorted((real_data / folder).iterdir())[:5]:
            with Image.open(path) as image:
                copy = as_jpeg(change(image.convert("RGB")), quality)
            assert list(near_pairs(rows(mark_of(path.read_bytes()), mark_of(copy)))), path
            assert distance(mark_of(path.read_bytes()), mark_of(copy)) <= NEAR, path


@pytest.mark.long
def test_pictures_of_a_series_are_no_copies(real_data: Path) -> None:
    """Sign digits: hands before light walls, 205 pictures a class, much alike; one true copy in cats and dogs."""
    signs = check(list_images(DataConfig(dataset=f"folder:{real_data / 'sign_language_digits'}")))
    assert {kind: len(found) for kind, found in signs.findings.items()} == {"exif_rotated": 3}
    assert {found.names for found in signs.findings["exif_rotated"]} == {
        ("7/IMG_5874.JPG",),
        ("7/IMG_5935.JPG",),
        ("7/IMG_5978.JPG",),
    }
    pets = check(list_images(DataConfig(dataset=f"folder:{real_data / 'cats_and_dogs'}")))
    assert {kind: [f.names for f in found] for kind, found in pets.findings.items()} == {
        "near_duplicate": [("train/dogs/dog.180.jpg", "train/dogs/dog.74.jpg")]
    }
