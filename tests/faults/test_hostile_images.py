"""Images made to break the decoder: each is read, or named, and none fills the memory or runs anything."""

import csv
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.checking.defects import bomb, png
from tests.faults.commands import error_of, nothing_changed, run
from tests.faults.payloads import Payload
from tests.faults.strange import picture
from tests.training.helpers import SMALL_CNN, flags, with_

MOST_MEGABYTES = 2500
"""Of memory that the process may come to; the bombs claim a hundred times as much."""


def _jpeg(width: int, height: int) -> bytes:
    header = struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0" + struct.pack(">H", len(header) + 2) + header


def _gif(width: int, height: int) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x08\x01\0\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6) + frame + b"\x3b"


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def _webp(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(width: int, height: int) -> bytes:
    """Grey, in one strip of nothing."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 0}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def _ico(content: bytes) -> bytes:
    """An icon that holds a PNG file."""
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(content), 22) + content


def _avif(width: int, height: int) -> bytes:
    """A picture whose size is changed in its header, ISO/IEC 23008-12's `ispe`."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "AVIF")
    good = bytearray(file.getvalue())
    place = good.index(b"ispe") + 8
    good[place : place + 8] = struct.pack(">II", width, height)
    return bytes(good)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _with_chunk(kind: bytes, body: bytes) -> bytes:
    whole = png(8, 8, 8, (b"\0" + bytes(24)) * 8)
    return whole[:33] + _chunk(kind, body) + whole[33:]


def _zeros(megabytes: int) -> bytes:
    """Zeros as zlib compresses them: one megabyte, repeated, since all of them would take seconds."""
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    checksum = (megabytes * 2**20 % 65521) << 16 | 1  # Adler-32
    return b"\x78\xda" + block * megabytes + b"\x03\0" + struct.pack(">I", checksum)


LARGE = _zeros(256)
"""A quarter of a gigabyte in a quarter of a megabyte."""

BROKEN: dict[str, tuple[str, bytes]] = {
    "PNG of 3.6 gigapixels": ("png", bomb(60_000, 60_000)),
    "PNG of 2**62 pixels": ("png", bomb(2**31 - 1, 2**31 - 1)),
    "JPEG of 4.2 gigapixels": ("jpg", _jpeg(65_500, 65_500)),
    "GIF of 4.2 gigapixels": ("gif", _gif(65_535, 65_535)),
    "BMP of 4.6 exapixels": ("bmp", _bmp(2**31 - 1, 2**31 - 1)),
    "BMP of negative size": ("bmp", _bmp(-5, -(2**31))),
    "WebP of 281 terapixels": ("jpg", _webp(2**24, 2**24)),
    "TIFF of 4.2 gigapixels": ("tif", _tiff(65_500, 65_500)),
    "AVIF of 4.2 gigapixels": ("avif", _avif(65_500, 65_500)),
    "PPM of 10 gigapixels": ("ppm", b"P6 100000 100000 255\n"),
    "icon of 3.6 gigapixels": ("ico", _ico(bomb(60_000, 60_000))),
    "PNG of no size": ("png", bomb(0, 0)),
    "PNG without rows": ("png", bomb(300, 300)),
    "PostScript": ("jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch owned) (w) file\n"),
    "PDF": ("png", b"%PDF-1.4\n1 0 obj << /OpenAction << /S /Launch >> >> endobj\n"),
    "SVG that names a file": (
        "png",
        b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
    ),
    "HTML": ("jpg", b"<html><script>alert(1)</script></html>"),
    "Python": ("bmp", b"import os\nos.system('touch owned')\n"),
    "empty": ("jpg", b""),
    "one byte": ("gif", b"G"),
}
HARMLESS: dict[str, tuple[str, bytes]] = {
    "PNG with a text of a quarter gigabyte": ("png", _with_chunk(b"zTXt", b"Comment\0\0" + LARGE)),
    "PNG with a profile of a quarter gigabyte": ("png", _with_chunk(b"iCCP", b"ICC\0\0" + LARGE)),
    "PNG with more rows than it says": ("png", png(8, 8, 8, bytes(2**26))),
}
"""Pictures of eight by eight pixels, which either way end well: read as that, or named."""


def _moving(path: Path) -> None:
    """A GIF of many frames, of which the first counts."""
    frames = [Image.new("P", (8, 8), i % 256) for i in range(2000)]
    frames[0].save(path, "gif", save_all=True, append_images=frames[1:])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Payload]:
    """Two classes of good images, and among one of them everything that is broken."""
    root = tmp_path_factory.mktemp("hostile") / "data"
    for number, name in enumerate(("cat", "dog")):
        for i in range(8):
            picture(root / name / f"{i}.png", 100 * number + i)
    for name, (suffix, content) in {**BROKEN, **HARMLESS}.items():
        (root / "cat" / f"{name}.{suffix}").write_bytes(content)
    payload = Payload(root.parent / "executed")
    (root / "cat" / "pickle.png").write_bytes(payload.pickled)
    with zipfile.ZipFile(root / "cat" / "archive.jpg", "w") as archive:
        archive.writestr("../../evil", "x")
    _moving(root / "cat" / "moving.gif")
    with (root / "cat" / "sparse.jpg").open("wb") as file:
        file.truncate(2**26)
    return root, payload


def test_check_data_names_every_one(images: tuple[Path, Payload], tmp_path: Path, ended: Callable[..., None]) -> None:
    root, payload = images
    with nothing_changed(root.parent):
        assert run("check_data", root, f"--json={tmp_path / 'c.json'}", f"--html={tmp_path / 'c.html'}") == 1
    text = (tmp_path / "c.json").read_text()
    for name in BROKEN:
        assert name in text, name
        ended("image made to break", "one clear error", name)
    assert not payload.executed
    assert json.loads(text)


@pytest.mark.long
def test_predict_has_a_row_for_every_one_and_memory_for_the_rest(
    images: tuple[Path, Payload], finished_run: Path, tmp_path: Path
) -> None:
    root, payload = images
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: this process ran other tests before
    before = _megabytes("VmRSS:")
    assert run("predict", root, f"--checkpoint={finished_run}", f"--output={tmp_path / 'p.csv'}", "--top=1") == 0
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = {Path(row["path"]).stem: row for row in csv.DictReader(file)}
    for name in (*BROKEN, "pickle", "archive", "sparse"):
        assert rows[name]["class_name"].startswith("error: "), name
    assert rows["moving"]["probability"]
    assert not payload.executed
    assert _megabytes("VmHWM:") - before < MOST_MEGABYTES


def _megabytes(field: str) -> float:
    """Of this process, as the kernel counts."""
    return int(Path("/proc/self/status").read_text().partition(field)[2].split()[0]) / 1024


@pytest.mark.long
def test_training_names_the_first_or_leaves_all_out(
    images: tuple[Path, Payload], tmp_path: Path, ended: Callable[..., None]
) -> None:
    root, payload = images
    config = with_(
        SMALL_CNN, data={"dataset": f"folder:{root}", "split": (0.6, 0.4, 0.0), "batch_size": 4, "steps_per_epoch": 2}
    )
    message = error_of("train", *flags(config, tmp_path / "first"))
    assert "cannot be read as an image: " in message
    assert "--data.unreadable=skip" in message
    skipping = with_(config, data={"unreadable": "skip"}, train={"epochs": 1})
    assert run("train", *flags(skipping, tmp_path / "run")) == 0
    listed = (tmp_path / "run" / "unreadable.json").read_text()
    for name in BROKEN:
        assert name in listed, name
    assert not payload.executed
    ended("image made to break", "finished", "data.unreadable=skip")


@pytest.mark.long
def test_explain_goes_on_without_them(images: tuple[Path, Payload], finished_run: Path, tmp_path: Path) -> None:
    root, _ = images
    broken = [root / "cat" / f"{name}.{suffix}" for name, (suffix, _) in list(BROKEN.items())[:4]]
    good = root / "cat" / "0.png"
    flags = (f"--checkpoint={finished_run}", f"--output={tmp_path / 'x'}", "--methods", "grad-cam")
    assert run("explain", *broken, good, *flags) == 0
    assert (tmp_path / "x" / "index.html").exists()
