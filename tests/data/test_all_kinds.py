"""A folder of pictures of every kind and of files that are none: each is used, with Pillow's pixels, or named."""

from pathlib import Path

import numpy as np
import pytest

from cnn_jax.config import CsvConfig, DataConfig
from cnn_jax.data.sources import UNSPLIT, Dataset, open_dataset
from cnn_jax.errors import DataError
from tests.data import odd

SUFFIXES = {"JPEG": ".JPG", "TIFF": ".tif", "PFM": ".pgm"}
OTHERS = {
    "clip.mp4": b"\0\0\0\x18ftypmp42",
    "drawing.svg": b"<svg/>",
    "raw.dng": b"II*\0",
    "Thumbs.db": b"\xd0\xcf",
    ".DS_Store": b"\0",
    "._photo.jpg": b"\0",
    "notes": b"no suffix",
    "page.html": b"<html>",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with every kind of picture in turn, and one of each that is none."""
    for number, (name, content) in enumerate(odd.whole().items()):
        kind = next(word for word in name.split() if not word.isdigit())
        path = tmp_path / "photos" / ("a" if number % 2 else "b") / f"{number}{SUFFIXES.get(kind, f'.{kind.lower()}')}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, content in OTHERS.items():
        (tmp_path / "photos" / "a" / name).write_bytes(content)
    (tmp_path / "photos" / "empty.jpg").write_bytes(b"")
    return tmp_path / "photos"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def assert_pillows(dataset: Dataset, folder: Path) -> None:
    """Of all that Pillow gives 8 bits of; the deeper ones have tests of their own."""
    split, deep = dataset.splits[UNSPLIT], 0
    for index, id_ in enumerate(split.ids):
        expected = odd.reference((folder / id_).read_bytes(), "white")
        found = split.images.array(index)
        assert found.dtype == np.uint8
        if expected is None:
            deep += 1
            continue
        np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected, err_msg=id_)
    assert len(split) >= 28 + deep


@pytest.mark.filterwarnings("ignore")  # Pillow's, of metadata
def test_every_file_of_class_folders_is_used_or_named(folder: Path) -> None:
    found = open_dataset(DataConfig(dataset=f"folder:{folder}"))
    used = set(found.splits[UNSPLIT].ids)
    assert used | set(found.left_out) == files(folder)
    assert not used & set(found.left_out)
    assert {name.removeprefix("a/") for name in found.left_out} == {*OTHERS, "empty.jpg"}
    assert_pillows(found, folder)


@pytest.mark.filterwarnings("ignore")
def test_every_row_of_a_table_of_them_is_used_or_named(folder: Path) -> None:
    rows = [f"{name};{name[0]}" for name in sorted(files(folder))]
    (folder.parent / "labels.csv").write_text("\n".join(["path;label", *rows, "gone.jpg;a"]))
    found = open_dataset(DataConfig(dataset=f"csv:{folder.parent}/labels.csv", csv=CsvConfig(root=str(folder))))
    split = found.splits[UNSPLIT]
    named = {name.partition(": ")[2]: kind for name, kind in found.left_out.items()}
    assert set(split.ids) | set(named) == files(folder) | {"gone.jpg"}
    assert not set(split.ids) & set(named)
    assert {"gone.jpg", "a/clip.mp4", "a/page.html"} < set(named)
    unreadable = [id_ for id_ in split.ids if id_ in ("empty.jpg", "a/notes", "a/.DS_Store", "a/._photo.jpg")]
    for id_ in unreadable:
        with pytest.raises(DataError):
            split.images.array(list(split.ids).index(id_))
    pictures = [index for index, id_ in enumerate(split.ids) if id_ not in unreadable]
    assert_pillows(Dataset("", (), {UNSPLIT: split.take(pictures)}), folder)
