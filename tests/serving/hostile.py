"""Requests made to end or to stall a server, each by its seed."""

import io
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

from tests.checking.defects import bomb, png
from tests.data.pictures import encode, photograph, see_through
from tests.faults.damaged import CHANGES, Content
from tests.faults.test_hostile_images import BROKEN, HARMLESS

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
GOOD = encode(photograph(200, 150), "JPEG")
WHOLE = [
    GOOD,
    *(encode(photograph(), kind) for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "ICO")),
    encode(photograph(), "JPEG", progressive=True),
    encode(see_through(), "WEBP"),
]
SCRIPT = b"<script>alert(1)</script>"


def _damaged(rng: np.random.Generator) -> bytes:
    content = Content(WHOLE[rng.integers(len(WHOLE))])
    return bytes(CHANGES[rng.integers(len(CHANGES))](content, rng))


def _made(rng: np.random.Generator) -> bytes:
    known = list({**BROKEN, **HARMLESS}.values())
    return known[rng.integers(len(known))][1]


def _bomb(rng: np.random.Generator) -> bytes:
    """Headers that claim much, scans without end, rows without end, and what is just allowed."""
    side = int(rng.integers(6000, 2**31))
    scans = GOOD[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x7f" * int(rng.integers(2, 40_000))
    black = zlib.compress(bytes(2**25), 9)
    rows = png(7000, 7000, 8, b"")[:33] + len(black).to_bytes(4, "big") + b"IDAT" + black + bytes(4)
    allowed = png(7000, 7000, 8, bytes(7000 * 21_001))
    return (bomb(side, side), scans, rows, allowed)[rng.choice(4, p=(0.5, 0.35, 0.1, 0.05))]


def _polyglot(rng: np.random.Generator) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../evil", "x" * 100)
    others = (archive.getvalue(), SCRIPT * 50, b"%PDF-1.4\n", b"#!/bin/sh\ntouch owned\n", b"GIF89a/*" + SCRIPT)
    parts = [WHOLE[rng.integers(len(WHOLE))], others[rng.integers(len(others))]]
    return b"".join(parts if rng.integers(2) else parts[::-1])


PICTURES: tuple[Callable[[np.random.Generator], bytes], ...] = (_damaged, _damaged, _damaged, _made, _bomb, _polyglot)


def _plain(picture: bytes, rng: np.random.Generator) -> bytes:
    return HEAD + f"Content-Length: {len(picture)}\r\n\r\n".encode() + picture


def _chunked(picture: bytes, rng: np.random.Generator) -> bytes:
    size = int(rng.integers(1, 5000))
    parts = [picture[i : i + size] for i in range(0, len(picture), size)][:3000]
    chunks = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def _form(picture: bytes, rng: np.random.Generator) -> bytes:
    """Of many parts, strange names, or damage."""
    names = ("../../evil", "a\x1b]0;owned\x07", "<img src=x onerror=alert(1)>", "x" * 3000, "\u202egnp.exe", '"; a="')
    part = f'--x\r\nContent-Disposition: form-data; name="f"; filename="{names[rng.integers(len(names))]}"\r\n\r\n'
    count = int(rng.choice((1, 2, 33, 3000)))
    body = Content((part.encode() + picture[: 10**6 // count] + b"\r\n") * count + b"--x--\r\n")
    if rng.integers(2):
        body = CHANGES[rng.integers(len(CHANGES))](body, rng)
    return (
        HEAD + f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )


def _cut(picture: bytes, rng: np.random.Generator) -> bytes:
    """It says that it is longer than it is, and its sender goes."""
    return HEAD + f"Content-Length: {len(picture) + int(rng.integers(1, 10**7))}\r\n\r\n".encode() + picture


def _longer(picture: bytes, rng: np.random.Generator) -> bytes:
    return HEAD + f"Content-Length: {len(picture) // 2}\r\n\r\n".encode() + picture


def _headers(picture: bytes, rng: np.random.Generator) -> bytes:
    return HEAD + b"X: " + b"a" * int(rng.integers(1, 10**6)) + b"\r\n" * int(rng.integers(0, 3)) + picture


def _no_http(picture: bytes, rng: np.random.Generator) -> bytes:
    return bytes(CHANGES[rng.integers(len(CHANGES))](Content(_plain(picture, rng)), rng))


REQUESTS = (_plain, _plain, _plain, _plain, _chunked, _form, _form, _cut, _longer, _headers, _no_http)


def request(seed: int) -> bytes:
    """A whole request, or what its sender has of one."""
    rng = np.random.default_rng(seed)
    picture = PICTURES[rng.integers(len(PICTURES))](rng)
    return REQUESTS[rng.integers(len(REQUESTS))](picture, rng)
