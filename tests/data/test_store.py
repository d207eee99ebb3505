"""Kept rows: what was added is read back, and nothing else is ever taken for it."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.io import store
from cnn_jax.io.store import NAME_BYTES, RowStore, numpy_dtype

ROW = (3, 5)


def names_of(*numbers: int) -> np.ndarray:
    return np.stack([np.frombuffer(hashlib.sha256(str(n).encode()).digest(), np.uint8) for n in numbers])


def rows_of(*numbers: int) -> np.ndarray:
    return np.stack([np.random.default_rng(n).random(ROW, np.float32) for n in numbers])


def opened(folder: Path, megabytes: float = 1.0) -> RowStore:
    return RowStore(folder / "features" / "key", ROW, np.dtype(np.float32), megabytes)


def add(folder: Path, *numbers: int, megabytes: float = 1.0) -> None:
    with opened(folder, megabytes).adding() as adding:
        adding.add(names_of(*numbers), rows_of(*numbers))
    assert adding.error is None


def read(folder: Path, *numbers: int) -> tuple[np.ndarray, list[int]]:
    into = np.zeros((len(numbers), *ROW), np.float32)
    return into, opened(folder).read(names_of(*numbers), into).tolist()


def pieces(folder: Path) -> list[Path]:
    return sorted((folder / "features").rglob(f"*{store.SUFFIX}"))


def test_rows_are_found_by_name_in_any_order_and_piece(tmp_path: Path) -> None:
    assert read(tmp_path, 1, 2)[1] == [0, 1]
    add(tmp_path, 1, 2, 3)
    add(tmp_path, 4)
    found, missing = read(tmp_path, 4, 9, 2, 2)
    assert missing == [1]
    np.testing.assert_array_equal(found[[0, 2, 3]], rows_of(4, 2, 2))
    lazy, missing = opened(tmp_path).rows(names_of(3, 4, 1))
    assert (lazy.shape, lazy.dtype, len(lazy), len(missing)) == ((3, *ROW), np.float32, 3, 0)
    np.testing.assert_array_equal(lazy[np.array([2, 0, 0])], rows_of(1, 3, 3))


def test_bits_of_bfloat16_are_kept(tmp_path: Path) -> None:
    dtype = numpy_dtype("bfloat16")
    kept, rows = RowStore(tmp_path / "features" / "key", ROW, dtype, 1.0), rows_of(1).astype(dtype)
    with kept.adding() as adding:
        adding.add(names_of(1), rows)
    into = np.zeros_like(rows)
    assert not len(kept.read(names_of(1), into))
    np.testing.assert_array_equal(into.view(np.uint16), rows.view(np.uint16))
    np.testing.assert_array_equal(kept.rows(names_of(1))[0][np.array([0])].view(np.uint16), rows.view(np.uint16))


def test_many_rows_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PIECE_BYTES", 2 * 60)
    with opened(tmp_path).adding() as adding:
        for number in range(5):
            adding.add(names_of(number), rows_of(number))
    assert len(pieces(tmp_path)) == 3
    assert read(tmp_path, *range(5))[1] == []


def test_a_flipped_bit_anywhere_never_changes_a_row(tmp_path: Path) -> None:
    """Of the two rows, names, checksums and footer: the rows that are returned are the ones that were added."""
    add(tmp_path, 1, 2)
    (path,) = pieces(tmp_path)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        found, missing = read(tmp_path, 1, 2)
        assert missing, place
        whole = np.setdiff1d([0, 1], missing)
        np.testing.assert_array_equal(found[whole], rows_of(1, 2)[whole])
        assert opened(tmp_path).rows(names_of(1, 2))[1].tolist() == missing
    add(tmp_path, 1, 2)
    assert read(tmp_path, 1, 2)[1] == []


def test_a_piece_that_is_cut_or_foreign_is_not_there(tmp_path: Path) -> None:
    add(tmp_path, 1, 2)
    (path,) = pieces(tmp_path)
    content = path.read_bytes()
    other = RowStore(tmp_path / "features" / "key", (5, 6), np.dtype(np.float32), 1.0)  # rows of another size
    assert other.read(names_of(1), np.zeros((1, 5, 6), np.float32)).tolist() == [0]
    strange = [content[:size] for size in range(0, len(content), 7)] + [content + b"\0", b"text" * 40]
    for text in strange:
        path.write_bytes(text)
        assert read(tmp_path, 1, 2)[1] == [0, 1], len(text)
    path.unlink()
    path.mkdir()
    assert read(tmp_path, 1)[1] == [0]


def test_two_processes_may_add_the_same(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tests.data.test_store import add; add(Path(sys.argv[1]), 1, 2)"
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(pieces(tmp_path)) == 2
    np.testing.assert_array_equal(read(tmp_path, 2, 1)[0], rows_of(2, 1))


def test_the_pieces_unused_for_longest_make_room_and_killed_ones_are_removed(tmp_path: Path) -> None:
    for number in range(3):
        add(tmp_path, number)
    size = pieces(tmp_path)[0].stat().st_size
    for age, path in enumerate(pieces(tmp_path)):
        os.utime(path, (time.time() - 100 + age,) * 2)
    read(tmp_path, 0)  # which makes it the one used last
    folder = tmp_path / "features" / "key"
    for name, age in ((".a.tmp", 2 * store.ABANDONED_SECONDS), (".b.tmp", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    add(tmp_path, 9, megabytes=3.5 * size / 2**20)
    assert read(tmp_path, 0, 1, 2, 9)[1] == [1]
    assert [path.name for path in folder.glob(".*")] == [".b.tmp"]


def test_nothing_is_added_where_nothing_may_be_kept(tmp_path: Path) -> None:
    add(tmp_path, 1, megabytes=0)
    assert not (tmp_path / "features").exists()


def test_an_error_of_the_disk_is_told_and_ends_the_adding(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("in the way")
    with opened(tmp_path).adding() as adding:
        adding.add(names_of(1), rows_of(1))
    assert isinstance(adding.error, OSError)
    adding.add(names_of(2), rows_of(2))
    assert names_of(1).shape[1] == NAME_BYTES
