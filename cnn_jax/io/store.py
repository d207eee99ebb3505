"""Rows of arrays that are kept across runs, found by what they were made of.

A store is a folder of pieces, files that are written whole or not at all and never changed: the rows, then for each
row its name of 32 bytes and a checksum, then a footer. So processes that add at the same time do not meet, and a row
that a disk has damaged counts as missing. Of all stores side by side, the pieces unused for longest make room.
"""

import contextlib
import math
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from jaxtyping import Int64, Shaped, UInt8, UInt32

from cnn_jax.io.writing import is_leftover, write_atomically

NAME_BYTES = 32
"""A SHA-256 of what a row was made of."""

PIECE_BYTES = 32 * 2**20
"""Rows of one file; what a kill loses at most."""

FOOTER = struct.Struct("<8sQQI")
"""`MARK`, rows, bytes of a row, CRC-32 of names, checksums and these two numbers."""

MARK = b"cnn_jax\x01"
SUFFIX = ".rows"

Use = Callable[[int, UInt8[np.ndarray, " row_bytes"]], UInt8[np.ndarray, " row_bytes"]]
"""Of a place among the names and the bytes of its row, the bytes that are used there."""

ABANDONED_SECONDS = 3600.0
"""After so long without a write, an unfinished file is one that a killed process left behind."""


def numpy_dtype(dtype: str) -> np.dtype:
    """By its name; NumPy itself has no bfloat16."""
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


@dataclass(frozen=True)
class Piece:
    """An open file of a store."""

    path: Path
    names: list[bytes]
    checksums: UInt32[np.ndarray, " n"]
    rows: UInt8[np.ndarray, "n row_bytes"]
    """Read from the file as it is used."""


class Rows:
    """Rows on disk, in an order of their own: what an array gives for `rows[indices]`, without holding them."""

    def __init__(
        self, pieces: list[Piece], places: Int64[np.ndarray, "n 2"], row: tuple[int, ...], dtype: np.dtype
    ) -> None:
        """`places`: the piece and the row in it."""
        self._pieces, self._places, self._row, self.dtype = pieces, places, row, dtype
        self.shape = (len(places), *row)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, indices: Int64[np.ndarray, " m"]) -> Shaped[np.ndarray, "m ..."]:
        found = [self._pieces[piece].rows[row] for piece, row in self._places[indices]]
        return np.stack(found).view(self.dtype).reshape(-1, *self._row)


class RowStore:
    """The rows of one kind in `folder`; the bound is for all stores beside it."""

    def __init__(self, folder: Path, row: tuple[int, ...], dtype: np.dtype, megabytes: float) -> None:
        """`row` is the shape of one; with 0 `megabytes` nothing is added."""
        self._folder, self._row, self._dtype, self._megabytes = folder, row, dtype, megabytes
        self._bytes = int(np.prod(row)) * dtype.itemsize

    def read(self, names: UInt8[np.ndarray, "n 32"], into: Shaped[np.ndarray, "n ..."]) -> Int64[np.ndarray, " m"]:
        """Copy the rows of these names to their places in `into`; returns which are missing.

        A row whose checksum is wrong is one that is missing.
        """
        pieces, places = self._find(names)
        target = into.reshape(len(names), math.prod(self._row)).view(np.uint8)  # of no rows, too

        def copy(place: int, row: UInt8[np.ndarray, " row_bytes"]) -> UInt8[np.ndarray, " row_bytes"]:
            target[place] = row
            return target[place]

        return _missing(pieces, places, copy)

    def rows(self, names: UInt8[np.ndarray, "n 32"]) -> tuple[Rows, Int64[np.ndarray, " m"]]:
        """The rows of these names, read as they are used, and which are missing."""
        pieces, places = self._find(names)
        return Rows(pieces, places, self._row, self._dtype), _missing(pieces, places, lambda _, row: row)

    def has(self, names: UInt8[np.ndarray, "n 32"]) -> bool:
        """Whether there is a row of each of these names, whole or not."""
        return bool((self._find(names)[1][:, 0] >= 0).all())

    def adding(self) -> "Adding":
        """A context manager that takes new rows."""
        return Adding(self._folder, self._bytes, self._megabytes)

    def _find(self, names: UInt8[np.ndarray, "n 32"]) -> tuple[list[Piece], Int64[np.ndarray, "n 2"]]:
        """The pieces, and of each name the newest piece and the row in it; -1 where there is none."""
        pieces = [piece for path in _by_age(self._folder) for piece in _open(path, self._bytes)]
        known = {name: (i, row) for i, piece in enumerate(pieces) for row, name in enumerate(piece.names)}
        found = [known.get(name.tobytes(), (-1, -1)) for name in names]
        places = np.asarray(found, np.int64).reshape(len(names), 2)
        for i in np.unique(places[places[:, 0] >= 0, 0]):
            with contextlib.suppress(OSError):
                os.utime(pieces[i].path)  # what was used last goes last
        return pieces, places


class Adding:
    """Takes new rows; an error of the disk ends the adding and is in `error`, what was taken before stays."""

    def __init__(self, folder: Path, row_bytes: int, megabytes: float) -> None:
        self._folder, self._bytes, self._megabytes = folder, row_bytes, megabytes
        self._names: list[bytes] = []
        self._rows: list[bytes] = []
        self.error: OSError | None = None

    def __enter__(self) -> "Adding":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    @property
    def reason(self) -> str:
        """What the disk said, in words; empty where all went well."""
        return "" if self.error is None else self.error.strerror or str(self.error)

    def add(self, names: UInt8[np.ndarray, "n 32"], rows: Shaped[np.ndarray, "n ..."]) -> None:
        """A row for each name."""
        if not len(names) or self._megabytes <= 0 or self.error is not None:
            return
        for name, row in zip(names, np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8), strict=True):
            self._names.append(name.tobytes())
            self._rows.append(row.tobytes())
        if len(self._rows) * self._bytes >= PIECE_BYTES:
            self._write()

    def _write(self) -> None:
        if not self._rows or self.error is not None:
            return
        numbers = len(self._rows), self._bytes
        checksums = np.asarray([zlib.crc32(row) for row in self._rows], "<u4").tobytes()
        index = b"".join(self._names) + checksums
        footer = FOOTER.pack(MARK, *numbers, _checksum(index, *numbers))
        content = b"".join([*self._rows, index, footer])
        self._names, self._rows = [], []
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            make_room(self._folder.parent, len(content), self._megabytes)
            write_atomically(self._folder / f"{time.time_ns()}-{os.getpid()}{SUFFIX}", content)
        except OSError as error:
            self.error = error


def _missing(pieces: list[Piece], places: Int64[np.ndarray, "n 2"], use: Use) -> Int64[np.ndarray, " m"]:
    """The places without a row, and those whose row has another checksum than when it was written.

    On all cores: checksums and copies let go of Python's lock.
    """

    def damaged(part: Int64[np.ndarray, " m"]) -> list[int]:
        found = []
        for place in map(int, part):
            piece, row = places[place]
            if zlib.crc32(use(place, pieces[piece].rows[row]).data) != pieces[piece].checksums[row]:
                found.append(place)
        return found

    there = np.flatnonzero(places[:, 0] >= 0)
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        bad = [place for part in pool.map(damaged, np.array_split(there, cores)) for place in part]
    return np.union1d(np.flatnonzero(places[:, 0] < 0), np.asarray(bad, np.int64))


def make_room(folder: Path, needed: int, megabytes: float) -> None:
    """Remove the pieces of the stores in `folder` unused for longest until so many bytes fit into the bound.

    What killed processes left behind is removed as well.

    Raises:
        OSError: the folder cannot be used, or the disk has not so much left.
    """
    kept: list[tuple[float, int, Path]] = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # another process makes room as well
            stat = path.stat()
            if path.suffix == SUFFIX:
                kept.append((stat.st_mtime, stat.st_size, path))
            elif is_leftover(path.name) and time.time() - stat.st_mtime > ABANDONED_SECONDS:
                path.unlink()
    kept.sort()
    used = sum(size for _, size, _ in kept)
    for _, size, path in kept:
        if used + needed <= megabytes * 2**20:
            break
        path.unlink(missing_ok=True)
        used -= size
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # where it was the last
    folder.mkdir(parents=True, exist_ok=True)
    if needed > shutil.disk_usage(folder).free:
        raise OSError(28, f"{needed / 2**20:,.0f} MB more do not fit on the disk")


def _by_age(folder: Path) -> list[Path]:
    """Oldest first, by the times in their names."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError:
        return []


def _open(path: Path, row_bytes: int) -> Iterator[Piece]:
    """The piece; nothing where it is not whole, or not one of these."""
    try:
        content = np.memmap(path, np.uint8, "r")
        mark, count, size, checksum = FOOTER.unpack(content[-FOOTER.size :].tobytes())
        if mark != MARK or size != row_bytes or len(content) != count * (size + NAME_BYTES + 4) + FOOTER.size:
            return
        index = content[count * size : -FOOTER.size].tobytes()
    except (OSError, ValueError, struct.error):
        return
    if _checksum(index, count, size) != checksum:
        return
    names = [index[i * NAME_BYTES : (i + 1) * NAME_BYTES] for i in range(count)]
    checksums = np.frombuffer(index, "<u4", count, count * NAME_BYTES)
    yield Piece(path, names, checksums, np.asarray(content[: count * size]).reshape(count, size))


def _checksum(index: bytes, *numbers: int) -> int:
    return zlib.crc32(struct.pack("<QQ", *numbers), zlib.crc32(index))
