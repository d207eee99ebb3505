"""Data sets by name: which files and labels they hold, what is refused, and the pixels that come out."""

import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from urllib3.util.retry import Retry

from cnn_jax.config import DataConfig
from cnn_jax.data.sources import UNSPLIT, Dataset, Split, align_classes, check_data_within_reach, open_dataset
from cnn_jax.data.sources.dataset import about_numbers
from cnn_jax.errors import ConfigError, DataError, FetchError
from tests.conftest import make_unlistable, write_image

PIXELS = np.full((4, 4, 3), 100, np.uint8)


def make(root: Path, *files: str) -> Path:
    for name in files:
        write_image(root / name, PIXELS)
    return root


def open_folder(root: Path, **fields: Any) -> Dataset:
    return open_dataset(DataConfig(dataset=f"folder:{root}", **fields))


def by_class(dataset: Dataset, split: str) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {name: [] for name in dataset.classes}
    for id_, label in zip(dataset.splits[split].ids, dataset.splits[split].labels, strict=True):
        members[dataset.classes[label]].append(id_)
    return members


def load_all(split: Split) -> list[np.ndarray]:
    return [split.images.load(i).numpy() for i in range(len(split))]


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["train", "validation"], ["train", "validation"]),
        (["train", "valid"], ["train", "validation"]),
        (["train", "val"], ["train", "validation"]),
        (["train", "val", "test"], ["train", "validation", "test"]),
        (["train", "test"], ["train", "test"]),
        (["train"], ["train"]),
        (["Training", "DEV", "Testing"], ["train", "validation", "test"]),
    ],
)
def test_folders_that_come_split_keep_their_splits(tmp_path: Path, folders: list[str], splits: list[str]) -> None:
    for i, folder in enumerate(folders):
        make(tmp_path, *(f"{folder}/{name}/{j}.png" for name in ("cat", "dog") for j in range(i + 2)))
    dataset = open_folder(tmp_path)
    assert list(dataset.splits) == splits
    for i, (folder, split) in enumerate(zip(folders, splits, strict=True)):
        assert by_class(dataset, split) == {
            name: [f"{folder}/{name}/{j}.png" for j in range(i + 2)] for name in ("cat", "dog")
        }
        assert dataset.splits[split].labels.dtype == np.int32


def test_a_single_folder_of_classes_is_one_piece(tmp_path: Path) -> None:
    dataset = open_folder(make(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png"))
    assert list(dataset.splits) == [UNSPLIT]
    assert by_class(dataset, UNSPLIT) == {"cat": ["cat/1.png", "cat/2.png"], "dog": ["dog/1.png"]}


def test_classes_and_files_are_in_the_order_of_their_characters(tmp_path: Path) -> None:
    dataset = open_folder(make(tmp_path, "2/b.png", "2/B.png", "10/2.png", "10/10.png", "b/1.png", "A/1.png"))
    assert dataset.classes == ("10", "2", "A", "b")
    assert dataset.splits[UNSPLIT].ids == ("10/10.png", "10/2.png", "2/B.png", "2/b.png", "A/1.png", "b/1.png")
    assert dataset.splits[UNSPLIT].labels.tolist() == [0, 0, 1, 1, 2, 3]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/1.png", "a/.2.png", "a/.thumbs/3.png", ".git/4.png", ".cache/x/5.png")
    (tmp_path / "a" / "._1.png").write_bytes(b"what another system leaves behind")
    dataset = open_folder(tmp_path)
    assert dataset.classes == ("a", "b")
    assert dataset.splits[UNSPLIT].ids == ("a/1.png", "b/1.png")


def test_images_at_any_depth_below_a_class_are_found(tmp_path: Path) -> None:
    dataset = open_folder(make(tmp_path, "a/x/y/1.png", "a/2.png", "b/train/1.png"))
    assert by_class(dataset, UNSPLIT) == {"a": ["a/2.png", "a/x/y/1.png"], "b": ["b/train/1.png"]}


def test_files_that_are_no_images_are_counted_by_kind_and_suffixes_are_read_in_any_case(tmp_path: Path) -> None:
    images = ["a/1.JPG", "a/2.Jpeg", "a/3.PNG", "a/4.bmp", "a/5.gif", "a/6.webp", "a/7.Tiff", "b/1.jpg"]
    make(tmp_path, *images, "a/.thumbs/1.png", "stray.png")
    (tmp_path / "a/link").symlink_to(tmp_path / "b")
    for name in ("a/labels.csv", "a/png", "b/1.jpg.txt", "b/2.CSV", "b/end. Of a sentence", "b/.3.png", "README.md"):
        (tmp_path / name).write_text("text")
    dataset = open_folder(tmp_path)
    assert dataset.splits[UNSPLIT].ids == tuple(images)
    assert dataset.left_out == {
        "a/labels.csv": ".csv",
        "a/png": "no suffix",
        "b/1.jpg.txt": ".txt",
        "b/2.CSV": ".csv",
        "b/end. Of a sentence": "no suffix",
        "b/.3.png": "hidden",
        "a/.thumbs": "hidden folder",
        "a/link": "link to a folder",
        "stray.png": "outside the class folders",
    }
    (note,) = dataset.notes
    assert note.startswith("9 files of other kinds are left out: .csv 2, no suffix 2, ")
    assert note.endswith(", others 1")  # no more than six kinds are named


def test_one_file_and_folders_beside_the_splits_are_left_out_with_a_word(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "more/a/1.png")
    assert open_folder(tmp_path).notes[-1] == "1 file of another kind is left out: folder 1"


def test_where_photographs_of_phones_are_left_out_it_says_what_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_jax.data.sources.left_out.HAS_HEIF", False)
    monkeypatch.setattr("cnn_jax.data.sources.folders.IMAGE_SUFFIXES", (".png",))
    make(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a/2.heic").write_bytes(b"")
    assert open_folder(tmp_path).notes[0].endswith("left out: .heic 1 (pip install 'cnn_jax[heic]' reads .heic)")


def test_classes_can_be_in_the_order_of_the_numbers_in_their_names(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}/1.png" for name in ("1", "2", "10", "a2", "a10", "a2b", "02")))
    dataset = open_folder(tmp_path, class_order="natural")
    assert dataset.classes == ("1", "02", "2", "10", "a2", "a2b", "a10")
    assert by_class(dataset, UNSPLIT) == {name: [f"{name}/1.png"] for name in dataset.classes}
    assert open_folder(tmp_path).classes == tuple(sorted(dataset.classes))
    assert open_folder(tmp_path, class_order="natural", classes=("10", "2")).classes == ("10", "2")


def test_that_numbers_come_in_the_order_of_characters_is_said() -> None:
    assert about_numbers(("1", "10", "11", "2", "3")) == (
        "classes are in Keras' order (1, 10, 11, 2, …); --data.class_order=natural counts"
    )
    for unsurprising in (("1", "2"), ("2", "1"), ("1", "2", "10"), ("a10", "a2")):
        assert about_numbers(unsurprising) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow only Unicode in names")
def test_names_with_spaces_and_any_bytes_are_read(tmp_path: Path) -> None:
    make(tmp_path, "a b/ä ö.png", "c/1.png")
    shutil.copy(tmp_path / "c/1.png", os.fsencode(tmp_path / "c") + b"/\xff.png")
    split = open_folder(tmp_path).splits[UNSPLIT]
    assert split.ids == ("a b/ä ö.png", "c/1.png", os.fsdecode(b"c/\xff.png"))
    assert all((pixels == PIXELS).all() for pixels in load_all(split))


def test_the_home_folder_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "pets", "a/1.png", "b/1.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_dataset(DataConfig(dataset="folder:~/pets")).classes == ("a", "b")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder") as caught:
        open_folder(tmp_path / "gone")
    assert str(tmp_path / "gone") in str(caught.value)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    with pytest.raises(DataError, match="there is no folder") as caught:
        open_folder(tmp_path / "a.png")
    assert str(tmp_path / "a.png") in str(caught.value)


@pytest.mark.parametrize("folder", ["", "train", "train/../train"])
def test_a_folder_without_class_folders_is_named(tmp_path: Path, folder: str) -> None:
    make(tmp_path / folder, "1.png", "2.png")
    with pytest.raises(DataError, match="needs a folder for each class, at least two") as caught:
        open_folder(tmp_path)
    assert str((tmp_path / folder).resolve()) in str(caught.value)


@pytest.mark.parametrize("folder", ["", "train"])
def test_a_single_class_is_refused_and_named(tmp_path: Path, folder: str) -> None:
    make(tmp_path / folder, "cat/1.png")
    with pytest.raises(DataError, match=r"at least two.*'cat'") as caught:
        open_folder(tmp_path)
    assert str(tmp_path / folder) in str(caught.value)


@pytest.mark.parametrize("folder", ["cat", "train/cat"])
def test_an_empty_class_is_named_with_its_path(tmp_path: Path, folder: str) -> None:
    if "/" in folder:
        make(tmp_path, *(f"{split}/{name}/1.png" for split in ("train", "validation") for name in ("cat", "dog")))
        (tmp_path / folder / "1.png").unlink()
    else:
        make(tmp_path, "dog/1.png", "cow/1.png")
        (tmp_path / folder).mkdir()
    (tmp_path / folder / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="has no images") as caught:
        open_folder(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / folder))


def test_an_empty_class_can_be_left_out_as_its_message_says(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "cow").mkdir()
    with pytest.raises(DataError, match=r"--data\.classes"):
        open_folder(tmp_path)
    assert by_class(open_folder(tmp_path, classes=("cat", "dog")), UNSPLIT) == {
        "cat": ["cat/1.png"],
        "dog": ["dog/1.png"],
    }


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_training_lacks_is_refused_and_named(tmp_path: Path, split: str) -> None:
    make(tmp_path, *(f"train/{name}/1.png" for name in ("cat", "dog")), *(f"{split}/{c}/1.png" for c in ("cat", "emu")))
    with pytest.raises(DataError, match=rf"^{tmp_path}/{split} has classes that {tmp_path}/train lacks: emu\. "):
        open_folder(tmp_path)
    assert open_folder(tmp_path, classes=("dog", "cat")).classes == ("dog", "cat")  # as the message says


def test_classes_that_validation_or_test_lacks_are_named_and_the_others_keep_their_labels(tmp_path: Path) -> None:
    make(tmp_path, *(f"train/{name}/1.png" for name in ("ape", "cat", "dog")), "val/dog/1.png", "test/cat/1.png")
    make(tmp_path, "test/ape/1.png")
    (tmp_path / "val/cat").mkdir()
    dataset = open_folder(tmp_path)
    assert dataset.classes == ("ape", "cat", "dog")
    assert by_class(dataset, "validation") == {"ape": [], "cat": [], "dog": ["val/dog/1.png"]}
    assert by_class(dataset, "test") == {"ape": ["test/ape/1.png"], "cat": ["test/cat/1.png"], "dog": []}
    assert dataset.notes == (
        f"{tmp_path}/val has no images of ape, cat: nothing is measured for them there",
        f"{tmp_path}/test has no images of dog: nothing is measured for it there",
    )
    assert open_folder(tmp_path, classes=("dog", "ape")).notes == (
        f"{tmp_path}/val has no images of ape: nothing is measured for it there",
        f"{tmp_path}/test has no images of dog: nothing is measured for it there",
    )


def test_a_line_names_ten_classes_at_most(tmp_path: Path) -> None:
    make(tmp_path, *(f"train/{name}/1.png" for name in "abcdefghijklm"), "val/m/1.png")
    assert " no images of a, b, c, d, e, f, g, h, i, j and 2 more: " in open_folder(tmp_path).notes[0]


@pytest.mark.parametrize("folder", ["val", "val/cat", "test/cat"])
def test_a_split_without_any_image_is_refused_and_named(tmp_path: Path, folder: str) -> None:
    make(tmp_path, "train/cat/1.png", "train/dog/1.png")
    (tmp_path / folder).mkdir(parents=True)
    split = tmp_path / folder.split("/")[0]
    with pytest.raises(DataError, match=rf"^{split} has no images \(.*\): fill it or remove it"):
        open_folder(tmp_path)


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    dataset = open_folder(make(tmp_path, "train/1.png", "bus/1.png", "tram/1.png"))
    assert by_class(dataset, UNSPLIT) == {"bus": ["bus/1.png"], "train": ["train/1.png"], "tram": ["tram/1.png"]}


def test_a_test_folder_without_classes_is_left_out_and_said(tmp_path: Path) -> None:
    dataset = open_folder(make(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/7.png"))
    assert list(dataset.splits) == ["train"]
    assert dataset.notes == (f"{tmp_path / 'test'} has no class folders: it is left out",)


NO_RIGHT, NO_SERVER = PermissionError(13, "Permission denied"), OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("folder", "error"),
    [("train/cat/more", NO_RIGHT), ("train/cat", NO_SERVER), ("train", NO_RIGHT), ("val", NO_SERVER), (".", NO_RIGHT)],
)
def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, error: OSError
) -> None:
    make(tmp_path, *(f"{split}/{name}/{i}.png" for split in ("train", "val") for name in ("cat", "dog") for i in "12"))
    make(tmp_path, "train/cat/more/3.png")
    make_unlistable(monkeypatch, tmp_path / folder, error)
    with pytest.raises(DataError, match=rf"{error.strerror}.*mend it, or move it away") as caught:
        open_folder(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / folder} cannot be read: ")


def test_a_folder_inside_of_one_that_cannot_be_entered_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(path: Path, **_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", stat)
    for dataset in (f"folder:{tmp_path}", f"flat:{tmp_path}"):
        with pytest.raises(DataError, match=f"^{tmp_path} cannot be read: Permission denied"):
            open_dataset(DataConfig(dataset=dataset))


def test_a_flat_folder_that_cannot_be_read_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "cat.1.png", "dog.1.png")
    make_unlistable(monkeypatch, tmp_path, NO_RIGHT)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be read: Permission denied"):
        open_dataset(DataConfig(dataset=f"flat:{tmp_path}"))


def test_a_link_that_leads_round_in_a_circle_is_an_error_that_names_it(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "dog" / "2.png").symlink_to("2.png")
    with pytest.raises(DataError, match=rf"{tmp_path}/dog/2\.png cannot be read: Too many levels of symbolic links"):
        open_folder(tmp_path)


def test_what_lies_in_a_hidden_folder_is_of_no_concern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "cat/1.png", "dog/1.png", "cat/.thumbs/1.png")
    make_unlistable(monkeypatch, tmp_path / "cat/.thumbs", NO_RIGHT)
    assert open_folder(tmp_path).splits[UNSPLIT].ids == ("cat/1.png", "dog/1.png")


def test_a_folder_around_the_classes_is_hinted_at(tmp_path: Path) -> None:
    make(tmp_path, "pets/cat/1.png", "pets/dog/1.png")
    with pytest.raises(DataError, match=f"Did you mean folder:{tmp_path / 'pets'}?"):
        open_folder(tmp_path)


def test_two_validation_folders_are_refused_and_named(tmp_path: Path) -> None:
    make(tmp_path, *(f"{s}/{c}/1.png" for s in ("train", "val", "validation") for c in ("cat", "dog")))
    with pytest.raises(DataError, match="more than one validation folder") as caught:
        open_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "val, validation" in str(caught.value)


@pytest.mark.parametrize("name", ["photos", "folder", "folder:", "tfds", "tfds:", "digits:8", "Digits"])
def test_a_name_of_an_unknown_form_is_an_error_that_names_the_forms(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"data\.dataset=.*folder:DIR, flat:DIR, csv:FILE, tfds:NAME, digits or shapes"
    ):
        open_dataset(DataConfig(dataset=name))


def test_classes_are_chosen_and_ordered_by_the_configuration(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 1)):
        make(tmp_path, *(f"{split}/{name}/{i}.png" for name in ("cat", "cow", "dog") for i in range(count)))
    dataset = open_folder(tmp_path, classes=("dog", "cat"))
    assert dataset.classes == ("dog", "cat")
    assert by_class(dataset, "train") == {name: [f"train/{name}/{i}.png" for i in range(3)] for name in ("dog", "cat")}
    assert by_class(dataset, "validation") == {"dog": ["val/dog/0.png"], "cat": ["val/cat/0.png"]}
    assert dataset.splits["train"].labels.dtype == np.int32


def test_images_stay_with_their_labels_when_classes_are_chosen() -> None:
    whole = open_dataset(DataConfig(dataset="digits"))
    chosen = open_dataset(DataConfig(dataset="digits", classes=("7", "3")))
    seven_or_three = [i for i, label in enumerate(whole.splits[UNSPLIT].labels) if label in (7, 3)]
    split = chosen.splits[UNSPLIT]
    assert split.ids == tuple(whole.splits[UNSPLIT].ids[i] for i in seven_or_three)
    assert [(7, 3)[label] for label in split.labels] == [whole.splits[UNSPLIT].labels[i] for i in seven_or_three]
    for i in (0, 5, len(split) - 1):
        expected = whole.splits[UNSPLIT].images.load(seven_or_three[i]).numpy()
        np.testing.assert_array_equal(split.images.load(i).numpy(), expected)


def test_a_class_that_the_data_set_lacks_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "dog/1.png")
    with pytest.raises(ConfigError, match=r"data\.classes: .* has no class 'cow'; it has: cat, dog"):
        open_folder(tmp_path, classes=("cat", "cow"))


def test_classes_align_by_name_with_the_ones_of_a_model(tmp_path: Path) -> None:
    dataset = open_folder(make(tmp_path, "cat/1.png", "dog/1.png", "dog/2.png"))
    aligned = align_classes(dataset, ("dog", "cow", "cat"), "the run")
    assert aligned.classes == ("dog", "cow", "cat")
    assert by_class(aligned, UNSPLIT) == {"dog": ["dog/1.png", "dog/2.png"], "cow": [], "cat": ["cat/1.png"]}
    assert align_classes(dataset, ("cat", "dog"), "the run") is dataset


def test_a_class_that_a_model_does_not_know_is_named_and_whose_classes_they_are(tmp_path: Path) -> None:
    dataset = open_folder(make(tmp_path, "cat/1.png", "dog/1.png", "emu/1.png"))
    with pytest.raises(DataError) as caught:
        align_classes(dataset, ("cat", "cow"), "the run in runs/a")
    assert "the run in runs/a does not know: dog, emu. It knows: cat, cow." in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    dataset = open_dataset(DataConfig(dataset="digits"))
    split, digits = dataset.splits[UNSPLIT], load_digits()
    assert dataset.classes == tuple("0123456789")
    assert len(split) == len(set(split.ids)) == 1797
    np.testing.assert_array_equal(split.labels, digits.target)
    pixels = tf.map_fn(split.images.load, tf.range(len(split), dtype=tf.int64), fn_output_signature=tf.uint8).numpy()
    assert pixels.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(pixels[..., 0], np.round(digits.images / 16 * 255))


def test_a_file_is_read_by_its_content_not_its_suffix(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a/1.png").rename(tmp_path / "a/1.jpg")
    np.testing.assert_array_equal(open_folder(tmp_path).splits[UNSPLIT].images.load(0).numpy(), PIXELS)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where attempts to reach another machine are noted, and fail."""
    attempts: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        attempts.append(arguments)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


def tfds_pixels(split: str, i: int) -> np.ndarray:
    return np.random.default_rng((len(split), i)).integers(0, 256, (5 + i, 6, 3), dtype=np.uint8)


def prepare_tfds(
    folder: Path, dataset_name: str, splits: dict[str, int], label: str = "label", file_format: str = "array_record"
) -> None:
    """Write a TFDS data set that TFDS knows only by its files: images of `tfds_pixels`, i % 3 their labels."""
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():

        class Builder(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            name = dataset_name

            def _info(self) -> Any:
                features = {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    label: tfds.features.ClassLabel(names=["dog", "cat", "ant"]),
                }
                return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

            def _split_generators(self, manager: Any) -> dict[str, Any]:
                return {split: self._generate_examples(split, count) for split, count in splits.items()}

            def _generate_examples(self, split: str, count: int) -> Any:
                for i in range(count):
                    yield i, {"image": tfds_pixels(split, i), label: i % 3}

        Builder(data_dir=str(folder), file_format=file_format).download_and_prepare()


def assert_holds_tfds_pixels(split: Split, source: str, count: int) -> None:
    """Every example of `source` once, with its label; TFDS shuffles them when it writes them."""
    expected = {tfds_pixels(source, i).tobytes(): i % 3 for i in range(count)}
    found = {pixels.tobytes(): int(label) for pixels, label in zip(load_all(split), split.labels, strict=True)}
    assert found == expected
    assert len(split) == len(set(split.ids)) == count


def test_a_data_set_prepared_as_tfrecord_files_is_read_too(tmp_path: Path, no_network: list[Any]) -> None:
    prepare_tfds(tmp_path, "made_up", {"train": 7, "test": 3}, file_format="tfrecord")
    dataset = open_dataset(DataConfig(dataset="tfds:made_up", data_dir=str(tmp_path)))
    assert_holds_tfds_pixels(dataset.splits["train"], "train", 7)
    assert_holds_tfds_pixels(dataset.splits["test"].take([2, 0, 1]), "test", 3)
    assert no_network == []


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"train": 7}, [UNSPLIT]),
        ({"train": 7, "validation": 4}, ["train", "validation"]),
        ({"train": 7, "test": 4}, ["train", "test"]),
        ({"train": 6, "validation": 4, "test": 5, "extra": 3}, ["train", "validation", "test"]),
    ],
)
def test_a_prepared_tfds_data_set_is_read_from_its_folder(
    tmp_path: Path, no_network: list[Any], written: dict[str, int], read: list[str]
) -> None:
    prepare_tfds(tmp_path, "made_up", written)
    dataset = open_dataset(DataConfig(dataset="tfds:made_up", data_dir=str(tmp_path)))
    assert dataset.classes == ("dog", "cat", "ant")
    assert list(dataset.splits) == read
    for split in read:
        source = "train" if split == UNSPLIT else split
        assert_holds_tfds_pixels(dataset.splits[split], source, written[source])
    assert no_network == []


def test_classes_of_a_tfds_data_set_can_be_chosen(tmp_path: Path, no_network: list[Any]) -> None:
    prepare_tfds(tmp_path, "made_up", {"train": 9})
    chosen = ("ant", "dog")
    split = open_dataset(DataConfig(dataset="tfds:made_up", data_dir=str(tmp_path), classes=chosen)).splits[UNSPLIT]
    number = {tfds_pixels("train", i).tobytes(): i for i in range(9)}
    assert sorted(split.labels) == [0, 0, 0, 1, 1, 1]
    for pixels, label in zip(load_all(split), split.labels, strict=True):
        assert number[pixels.tobytes()] % 3 == {"ant": 2, "dog": 0}[chosen[label]]


def test_a_tfds_name_that_is_unknown_is_an_error_that_names_it(tmp_path: Path, no_network: list[Any]) -> None:
    for name in ("no_such_data_set_of_mine", "no_such_data_set_of_mine:small"):
        with pytest.raises(DataError, match=r"data\.dataset=tfds:no_such_data_set_of_mine"):
            open_dataset(DataConfig(dataset=f"tfds:{name}", data_dir=str(tmp_path)))
    assert no_network == []


def test_a_tfds_data_set_without_labels_is_refused(tmp_path: Path, no_network: list[Any]) -> None:
    prepare_tfds(tmp_path, "made_up", {"train": 3}, label="breed")
    with pytest.raises(DataError, match=r"data\.dataset=tfds:made_up: .* no `image` and `label`"):
        open_dataset(DataConfig(dataset="tfds:made_up", data_dir=str(tmp_path)))


def test_a_tfds_data_set_that_cannot_be_fetched_is_an_error_with_a_way_on(
    tmp_path: Path, no_network: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def sleep(*_: object) -> None:
        raise AssertionError("waits before it says so")

    monkeypatch.setattr(Retry, "sleep", sleep)  # TFDS by itself tries again for minutes
    monkeypatch.setattr(time, "sleep", sleep)
    config = DataConfig(dataset="tfds:rock_paper_scissors", data_dir=str(tmp_path))
    for look in (open_dataset, check_data_within_reach):
        with pytest.raises(FetchError, match=r"(?s)tfds:rock_paper_scissors.*--data\.data_dir.*--exp=quickstart") as at:
            look(config)
        assert "no connection to storage.googleapis.com" in str(at.value)
        assert str(tmp_path / "rock_paper_scissors") in str(at.value)
        asked.append(str(at.value))
    assert asked[0] == asked[1]
    assert len(no_network) == 2


def test_a_data_set_that_is_at_hand_is_within_reach(tmp_path: Path, no_network: list[Any]) -> None:
    prepare_tfds(tmp_path, "made_up", {"train": 3})
    for name in ("tfds:made_up", "digits", "folder:anywhere"):
        check_data_within_reach(DataConfig(dataset=name, data_dir=str(tmp_path)))
    assert no_network == []
