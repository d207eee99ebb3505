"""Hashes of files: of their content, read once, and never believed where a file may have changed."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from cnn_jax.data.sources import content
from cnn_jax.data.sources.content import hashes_of_files
from cnn_jax.io.files import cache_folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of an hour ago."""
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "photos"
    place.mkdir()
    for name in ("a.png", "b.png"):
        write(place / name, name.encode())
    return place


def write(path: Path, text: bytes, age: float = 3600) -> None:
    path.write_bytes(text)
    os.utime(path, (time.time() - age,) * 2)


def found(folder: Path, *names: str) -> list[bytes]:
    return [row.tobytes() for row in hashes_of_files(str(folder), names)]


def sha(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def test_they_are_of_the_content_and_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(folder, "b.png", "a.png") == [sha(b"b.png"), sha(b"a.png")]
    monkeypatch.setattr(content, "as_path", lambda path: pytest.fail(f"{path} was read again"))
    assert found(folder, "a.png") == [sha(b"a.png")]


def test_a_changed_file_is_read_again(folder: Path) -> None:
    found(folder, "a.png", "b.png")
    write(folder / "a.png", b"A.png", age=3599)
    write(folder / "b.png", b"longer")
    write(folder / "c.png", b"new")
    assert found(folder, "a.png", "b.png", "c.png") == [sha(b"A.png"), sha(b"longer"), sha(b"new")]


def test_a_file_that_changed_a_moment_ago_is_not_believed(folder: Path) -> None:
    """It could change again within the step of the file system's clock."""
    write(folder / "a.png", b"one", age=0)
    stat = (folder / "a.png").stat()
    assert found(folder, "a.png") == [sha(b"one")]
    (folder / "a.png").write_bytes(b"two")
    os.utime(folder / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert found(folder, "a.png") == [sha(b"two")]


def test_a_damaged_record_is_made_anew(folder: Path) -> None:
    expected = found(folder, "a.png", "b.png")
    (record,) = (cache_folder() / "hashes").iterdir()
    whole = record.read_bytes()
    for place in range(0, len(whole), 3):
        record.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        assert found(folder, "a.png", "b.png") == expected, place
    record.write_bytes(whole[:50])
    assert found(folder, "a.png", "b.png") == expected
    assert record.read_bytes() == whole


def test_a_file_that_cannot_be_read_is_like_no_other(folder: Path) -> None:
    first, second = found(folder, "gone.png"), found(folder, "gone.png")
    assert len(first[0]) == 32
    assert first != second


def test_without_a_place_for_the_record_they_are_read_every_time(folder: Path) -> None:
    cache_folder().write_text("in the way")
    assert found(folder, "a.png") == found(folder, "a.png") == [sha(b"a.png")]
