"""What image files hold, as hashes: read once, and believed as long as size and time of a file stay what they were."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cnn_jax.io.files import as_path, cache_folder, stamps
from cnn_jax.io.writing import is_remote, write_atomically

UNSURE_NANOSECONDS = 2_000_000_000
"""A file that changed so shortly before it was hashed may change again without another time: some file systems count
in steps of two seconds."""

Known = dict[str, tuple[tuple[int, int], bytes]]
"""Size and time, and SHA-256 of the content, by name."""


def hashes_of_files(folder: str, names: Sequence[str]) -> UInt8[np.ndarray, "n 32"]:
    """A SHA-256 for each file below the folder.

    Of its content; on gs://, of its name, size and time. A file that cannot be read has one that no file ever has.
    """
    if is_remote(folder or (names[0] if names else "")):
        pairs = zip(names, stamps(folder, names), strict=True)
        return as_array([sha256(repr((os.path.join(folder, name), *stamp)).encode()) for name, stamp in pairs])
    record = cache_folder() / "hashes" / f"{sha256(os.fsencode(os.path.abspath(folder))).hex()}.json"
    known, now = _read(record), time.time_ns()
    found: dict[str, bytes] = {}
    new: Known = {}

    def look(name: str) -> None:
        path = os.path.join(folder, name)
        try:
            stat = os.stat(path)
            stamp = stat.st_size, stat.st_mtime_ns
            if name in known and known[name][0] == stamp:
                found[name] = known[name][1]
                return
            found[name] = sha256(as_path(path).read_bytes())
            if stamp[1] + UNSURE_NANOSECONDS < now:
                new[name] = stamp, found[name]
        except OSError:
            found[name] = os.urandom(32)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(look, names):
            pass
    if new:
        with contextlib.suppress(OSError):  # they are read again at the next start
            _write(record, known | new)
    return as_array([found[name] for name in names])


def sha256(content: bytes) -> bytes:
    """Its 32 bytes."""
    return hashlib.sha256(content).digest()


def as_array(hashes: Sequence[bytes]) -> UInt8[np.ndarray, "n 32"]:
    """A row each."""
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)


def _read(path: Path) -> Known:
    """What was recorded; nothing where the file is missing, or not as it was written."""
    try:
        checksum, text = path.read_bytes().split(b"\n", 1)
    except (OSError, ValueError):
        return {}
    if checksum.decode(errors="replace") != sha256(text).hex():
        return {}
    return {name: ((size, changed), bytes.fromhex(found)) for name, size, changed, found in json.loads(text)}


def _write(path: Path, known: Known) -> None:
    rows = [[name, *stamp, found.hex()] for name, (stamp, found) in sorted(known.items())]
    text = json.dumps(rows).encode()  # which keeps names that are no text, as Python does
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, sha256(text).hex().encode() + b"\n" + text)
