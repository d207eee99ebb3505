"""Formats, depths and transparency: pixels are Pillow's, or follow from the numbers in the file; both ways agree."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.config.data import Background
from cnn_jax.data import pillow
from cnn_jax.data.sources import FileImages
from cnn_jax.errors import DataError
from tests.data.pictures import (
    Decoder,
    decoders,
    encode,
    oriented,
    photograph,
    png_of_16_bits,
    read_by_pillow,
    see_through,
    tiff,
)


@pytest.fixture(scope="module", params=["TensorFlow", "Pillow"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    """Both ways to the pixels."""
    return decoders()[request.param]


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("WEBP", "RGB", {"exif": oriented(6)}),
        ("WEBP", "RGB", {"lossless": True}),
        ("AVIF", "RGB", {}),
        ("AVIF", "RGB", {"exif": oriented(8)}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("TIFF", "RGB", {"exif": oriented(6), "compression": "tiff_adobe_deflate"}),
        ("TIFF", "RGB", {"exif": oriented(5)}),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "P", {}),
        ("TIFF", "CMYK", {}),
        ("TIFF", "RGB", {"save_all": True, "append_images": [photograph().rotate(90)]}),
        ("PPM", "RGB", {}),
        ("PPM", "L", {}),
        ("PPM", "1", {}),
        ("ICO", "RGB", {}),
        ("GIF", "RGB", {"save_all": True, "append_images": [photograph().rotate(90)]}),
        ("PNG", "RGB", {"exif": oriented(3)}),
        ("JPEG", "RGB", {"xmp": b'<x><rdf:Description tiff:Orientation="7"/></x>'}),
        ("JPEG", "CMYK", {"exif": oriented(2)}),
        ("JPEG", "RGB", {"icc_profile": bytes(200_000), "exif": oriented(5)}),
    ],
)
def test_pixels_are_pillows_the_right_way_up(decoder: Decoder, kind: str, mode: str, options: dict) -> None:
    encoded = encode(photograph().convert(mode), kind, **options)
    np.testing.assert_array_equal(decoder(encoded, "white"), read_by_pillow(encoded))


def over(image: Image.Image, colour: int) -> np.ndarray:
    """The definition of alpha in float64: uint8[h, w, 3]."""
    values = np.asarray(image.convert("RGBA")).astype(np.float64)
    share = values[..., 3:] / 255
    return np.round(values[..., :3] * share + colour * (1 - share)).astype(np.uint8)


def _key() -> Image.Image:
    """RGB with one colour that is see-through."""
    image = photograph()
    image.paste((9, 8, 7), (5, 5, 20, 20))
    return image


@pytest.mark.parametrize(
    ("kind", "image", "options"),
    [
        ("PNG", see_through(), {}),
        ("PNG", see_through().convert("LA"), {}),
        ("PNG", see_through().quantize(20), {}),
        ("PNG", photograph().convert("P"), {"transparency": 3}),
        ("PNG", _key(), {"transparency": (9, 8, 7)}),
        ("PNG", photograph().convert("L"), {"transparency": 130}),
        ("WEBP", see_through(), {"lossless": True}),
        ("AVIF", see_through(), {}),
        ("TIFF", see_through(), {}),
        ("ICO", see_through().resize((32, 32)), {}),
        ("GIF", see_through().quantize(20), {"transparency": 3}),
    ],
)
@pytest.mark.parametrize("background", ["white", "black", "drop"])
def test_the_background_shows_through(
    decoder: Decoder, kind: str, image: Image.Image, options: dict, background: Background
) -> None:
    encoded = encode(image, kind, **options)
    with Image.open(io.BytesIO(encoded)) as opened:
        assert opened.has_transparency_data
        rgba = opened.convert("RGBA")
    expected = np.asarray(rgba)[..., :3] if background == "drop" else over(rgba, 255 if background == "white" else 0)
    np.testing.assert_array_equal(decoder(encoded, background), expected)


def grey(pixels: np.ndarray) -> np.ndarray:
    """The one channel of three equal ones."""
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


RNG = np.random.default_rng(0)
SHORTS = RNG.integers(0, 2**16, (6, 8)).astype(np.uint16)
LONGS = RNG.integers(0, 2**32, (6, 8)).astype(np.uint32)
FLOATS = RNG.normal(1e6, 3, (600, 8)).astype(np.float32)
SCALED = np.round((FLOATS.astype(np.float64) - FLOATS.min()) / (float(FLOATS.max()) - float(FLOATS.min())) * 255)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (tiff(SHORTS >> 4, 12, 1), SHORTS >> 8),
        (tiff(SHORTS, 16, 1), SHORTS >> 8),
        (tiff(SHORTS, 16, 1, photometric=0), 255 - (SHORTS >> 8)),
        (tiff(SHORTS.view(np.int16), 16, 2), (SHORTS.view(np.int16).astype(int) + 2**15) >> 8),
        (tiff(LONGS, 32, 1), LONGS >> 24),
        (tiff(LONGS.view(np.int32), 32, 2), (LONGS.view(np.int32).astype(int) + 2**31) >> 24),
        (tiff(FLOATS, 32, 3), SCALED),
        (encode(Image.fromarray(SHORTS), "PPM"), SHORTS >> 8),
        (encode(Image.fromarray(SHORTS), "TIFF", compression="tiff_lzw"), SHORTS >> 8),
    ],
    ids=["12", "16", "white is zero", "signed 16", "32", "signed 32", "floats", "PGM", "LZW"],
)
def test_more_than_8_bits_are_scaled_from_the_range_of_their_type(
    decoder: Decoder, encoded: bytes, expected: np.ndarray
) -> None:
    np.testing.assert_array_equal(grey(decoder(encoded, "white")), expected)


def test_what_is_no_number_is_black_and_infinity_is_the_end_of_the_range() -> None:
    values = np.array([[0, 1, 2, np.nan, np.inf, -np.inf]], np.float32)
    assert grey(pillow.decode(tiff(values, 32, 3), "white")).tolist() == [[0, 128, 255, 0, 255, 0]]
    for flat in ([[3, 3]], [[np.nan, np.nan]]):
        assert not pillow.decode(tiff(np.array(flat, np.float32), 32, 3), "white").any()


def test_a_key_colour_of_16_bits_is_see_through(decoder: Decoder) -> None:
    samples = SHORTS[..., None].copy()
    samples[0, :3] = 258
    encoded = png_of_16_bits(samples, transparent=b"\x01\x02")
    expected = np.where(samples[..., 0] == 258, 255, samples[..., 0] >> 8)
    np.testing.assert_array_equal(grey(decoder(encoded, "white")), expected)
    np.testing.assert_array_equal(grey(decoder(encoded, "drop")), samples[..., 0] >> 8)


def test_integers_that_their_type_does_not_hold_are_refused() -> None:
    image = Image.fromarray(np.array([[0, 70_000]], np.int32))
    with pytest.raises(DataError, match="its integers go from 0 to 70000"):
        pillow.as_rgb(image, "white")


def test_the_content_counts_whatever_the_suffix(decoder: Decoder, tmp_path: Path) -> None:
    files = {
        "a.gif": png_of_16_bits(SHORTS[..., None]),
        "b.jpg": encode(photograph(), "WEBP", exif=oriented(6)),
        "c.png": encode(photograph(), "TIFF"),
        "d.tif": encode(photograph(), "JPEG", exif=oriented(3)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    images = FileImages.of([str(tmp_path / name) for name in files], "white")
    for index, content in enumerate(files.values()):
        np.testing.assert_array_equal(images.array(index), decoder(content, "white"))
        np.testing.assert_array_equal(images.load(index), images.array(index))


def test_kept_rows_of_one_background_are_none_of_another(tmp_path: Path) -> None:
    see_through().save(tmp_path / "a.png")
    hashes = [FileImages.of([str(tmp_path / "a.png")], colour).hashes().tobytes() for colour in ("white", "drop")]
    assert hashes[0] != hashes[1]


def test_heic_says_what_to_install_where_it_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "HAS_HEIF", False)
    with pytest.raises(DataError, match=r"it is HEIC, which needs pip install 'cnn_jax\[heic\]'"):
        pillow.decode(b"\0\0\0\x18ftypheic" + bytes(40), "white")


@pytest.mark.long
def test_heic_is_read_where_its_package_is() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    encoded = encode(photograph(64, 48), "HEIF")
    pixels = pillow.decode(encoded, "white")
    np.testing.assert_array_equal(pixels, read_by_pillow(encoded))
    assert np.abs(pixels.astype(int) - np.asarray(photograph(64, 48))).mean() < 8
