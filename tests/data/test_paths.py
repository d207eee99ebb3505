"""Files that a person names: what names stand for, and streaming past the ones that cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data import paths
from cnn_jax.data.paths import everything, expand, readable_batches, why_unreadable
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import ArrayImages, FileImages
from cnn_jax.errors import DataError
from tests.conftest import make_unlistable, write_image

PIXELS = np.full((6, 5, 3), 9, np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", "deep/er/c.JPG", "deep/[1] x.png", ".hidden/d.png"):
        write_image(tmp_path / name, PIXELS)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def _expand(root: Path, *names: str) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in expand([str(root / name) for name in names])]


def test_names_stand_for_files_folders_and_patterns_in_their_order(photos: Path) -> None:
    assert _expand(photos, "b.png", "a.jpg") == ["b.png", "a.jpg"]
    assert _expand(photos, "notes.txt") == ["notes.txt"]  # what is named is taken, whatever its suffix
    assert _expand(photos, ".") == ["a.jpg", "b.png", "deep/[1] x.png", "deep/er/c.JPG"]
    assert _expand(photos, "*.png") == ["b.png"]
    assert _expand(photos, "**/*") == ["a.jpg", "b.png", "deep/[1] x.png", "deep/er/c.JPG"]
    assert _expand(photos, "deep/[1] x.png") == ["deep/[1] x.png"]  # a file's own name is no pattern
    assert expand([photos / "b.png"]) == [str(photos / "b.png")]


def test_everything_is_what_is_no_image_too_in_its_place(photos: Path) -> None:
    found = [(str(Path(path).relative_to(photos)), kind) for path, kind in everything([photos, photos / "*.txt"])]
    assert found == [
        (".hidden", "hidden folder"),
        ("a.jpg", ""),
        ("b.png", ""),
        ("deep/[1] x.png", ""),
        ("deep/er/c.JPG", ""),
        ("notes.txt", ".txt"),
        ("notes.txt", ".txt"),
    ]


@pytest.mark.parametrize("name", ["gone.png", "*.gif", "empty", "*.txt"])
def test_a_name_that_stands_for_nothing_is_an_error_that_says_it(photos: Path, name: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(DataError, match=name.replace("*", r"\*")):
        expand([photos / "b.png", photos / name])


def test_a_home_folder_is_understood(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(photos))
    assert expand(["~/b.png"]) == [str(photos / "b.png")]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("deep/er", "."), ("deep/er", "d*"), ("deep/er", "**/*.JPG"), ("deep", "*/*.png"), (".", "*.png")],
)
def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(
    photos: Path, monkeypatch: pytest.MonkeyPatch, folder: str, name: str
) -> None:
    make_unlistable(monkeypatch, photos / folder, PermissionError(13, "Permission denied"))
    with pytest.raises(DataError, match=r"cannot be read: Permission denied") as caught:
        expand([photos / name])
    assert str(caught.value).startswith(str(photos / folder))


def test_a_folder_that_a_pattern_does_not_look_into_need_not_be_readable(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_unlistable(monkeypatch, photos / "deep/er", PermissionError(13, "Permission denied"))
    assert _expand(photos, "*.png", "deep/*.png") == ["b.png", "deep/[1] x.png"]


@pytest.fixture(params=[0, paths.HANDFUL], ids=["TensorFlow", "Pillow"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to read."""
    monkeypatch.setattr(paths, "HANDFUL", request.param)


@pytest.mark.usefixtures("reader")
def test_batches_hold_every_readable_image_once_in_order_and_padding_is_masked() -> None:
    pixels = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    batches = list(readable_batches(ArrayImages(pixels), 7, Resize(4), 3))
    assert [batch["image"].shape for batch in batches] == [(3, 4, 4, 3)] * 3
    kept = np.concatenate([batch["image"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(kept, pixels)
    indices = np.concatenate([batch["index"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(indices, np.arange(7))


@pytest.mark.usefixtures("reader")
def test_unreadable_files_are_left_out_and_say_why(tmp_path: Path) -> None:
    paths = []
    for i in range(9):
        path = tmp_path / f"{i}.png"
        write_image(path, np.full((3, 3, 3), i, np.uint8))
        if i in (0, 4, 5, 8):
            path.write_bytes(path.read_bytes()[:20] if i else b"")
        paths.append(str(path))
    paths.append(str(tmp_path / "gone.png"))
    images = FileImages.of(paths, "white")
    batches = list(readable_batches(images, len(paths), Resize(3), 2))
    indices = np.concatenate([batch["index"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(indices, [1, 2, 3, 6, 7])
    for batch in batches:
        for index, image, real in zip(batch["index"], batch["image"], batch["mask"], strict=True):
            assert not real or (image == index).all()
    assert "No such file" in why_unreadable(images, 9)
    assert "\n" not in why_unreadable(images, 4)
