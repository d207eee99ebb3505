"""Data sets that need no folder of classes: names that tell the class, shapes drawn on the fly, files left out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.config import DataConfig
from cnn_jax.data import splits
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import UNSPLIT, Names, open_dataset, shapes
from cnn_jax.data.stream import evaluation_batches, in_memory
from cnn_jax.errors import DataError
from tests.data.test_sources import by_class, make, open_folder


def open_flat(root: Path, **fields: Any):
    return open_dataset(DataConfig(dataset=f"flat:{root}", **fields))


def test_flat_names_what_else_lies_in_the_folder(tmp_path: Path) -> None:
    make(tmp_path, "cat.1.png", "dog.1.png", "more/cat.2.png")
    (tmp_path / "list.csv").write_text("text")
    dataset = open_flat(tmp_path)
    assert dataset.left_out == {"list.csv": ".csv", "more": "folder"}
    assert dataset.notes == ("2 files of other kinds are left out: .csv 1, folder 1",)


def test_the_class_of_a_flat_file_is_the_start_of_its_name(tmp_path: Path) -> None:
    make(tmp_path, "dog.0.jpg", "cat.10.jpg", "cat.2.jpg", "dog.1.JPG", ".hidden.0.jpg", "test/cat.3.jpg")
    (tmp_path / "labels.csv").write_text("no image")
    dataset = open_flat(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert by_class(dataset, UNSPLIT) == {"cat": ["cat.10.jpg", "cat.2.jpg"], "dog": ["dog.0.jpg", "dog.1.JPG"]}
    assert dataset.splits[UNSPLIT].images.load(0).shape == (4, 4, 3)


def test_the_separator_of_flat_files_is_configurable(tmp_path: Path) -> None:
    dataset = open_flat(make(tmp_path, "great dane_1.png", "pug_v2.1_7.png"), separator="_")
    assert dataset.classes == ("great dane", "pug")


def test_the_last_separator_may_end_the_class_and_is_offered_where_the_first_joins_classes(tmp_path: Path) -> None:
    bulldogs = [f"american_bulldog_{i}.png" for i in (1, 12)]
    pugs, terriers = ["pug_2.png", "pug_3.png"], [f"american_pit_bull_{i}.png" for i in (3, 4)]
    make(tmp_path, *bulldogs, *pugs, *terriers)
    first, last = (open_flat(tmp_path, separator="_", separator_at=at) for at in ("first", "last"))
    assert by_class(last, UNSPLIT) == {"american_bulldog": bulldogs, "american_pit_bull": terriers, "pug": pugs}
    assert last.notes == ()
    assert first.classes == ("american", "pug")
    assert first.notes == ("Classes end at the first '_'; at the last, there are 3: --data.separator_at=last",)
    for file in pugs:
        (tmp_path / file).unlink()
    with pytest.raises(DataError, match=r"all names say 'american'\. .* there are 2: --data\.separator_at=last"):
        open_flat(tmp_path, separator="_")


def test_a_number_in_the_middle_of_a_name_is_not_taken_for_a_class(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}.{i}.{kind}.png" for name in ("cat", "dog") for i in range(2) for kind in ("a", "b")))
    make(tmp_path, "dog.7.a.png")
    assert open_flat(tmp_path).notes == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["cat.0.png", "dog1.png", "dog2.png"], "2 names have no class before a '.', the first is dog1.png"),
        (["cat.0.png", "cat.1.png"], "two classes; before the first '.', all names say 'cat'.$"),
        (["train/cat.0.png"], "no images .* does not look into its folders"),
    ],
)
def test_flat_files_without_classes_are_an_error_that_names_them(
    tmp_path: Path, files: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_flat(make(tmp_path, *files))


@pytest.mark.parametrize("dataset", ["flat", "shapes"])
def test_a_record_of_splits_is_read_back(tmp_path: Path, dataset: str) -> None:
    make(tmp_path, *(f"{name}.{i}.png" for name in ("cat", "dog") for i in range(10)))
    config = DataConfig(dataset=f"flat:{tmp_path}" if dataset == "flat" else "shapes", shapes_examples=60)
    drawn = splits.partition(open_dataset(config), (0.8, 0.2, 0.0), seed=1)
    splits.write(drawn, tmp_path / "split.json")
    make(tmp_path, "cat.new.png")
    read = splits.read(open_dataset(config), tmp_path / "split.json")
    for name in ("train", "validation"):
        assert read.splits[name].ids == drawn.splits[name].ids
        np.testing.assert_array_equal(read.splits[name].labels, drawn.splits[name].labels)
        image = lambda d: d.splits[name].images.load(3).numpy()  # noqa: E731, B023
        np.testing.assert_array_equal(image(read), image(drawn))
    assert json.loads((tmp_path / "split.json").read_text())["splits"]["train"] == list(drawn.splits["train"].ids)


def test_a_shape_is_a_pure_function_of_seed_and_number() -> None:
    pictures = [shapes.draw(32, 5, i) for i in range(12)]
    for i in (11, 3, 0):
        np.testing.assert_array_equal(shapes.draw(32, 5, i), pictures[i])
    assert len({picture.tobytes() for picture in pictures}) == 12
    assert (shapes.draw(32, 6, 0) != pictures[0]).any()


def test_shapes_are_balanced_and_drawn_by_number_whatever_was_taken() -> None:
    dataset = open_dataset(DataConfig(dataset="shapes", shapes_examples=30, shapes_size=24, shapes_seed=2))
    split = dataset.splits[UNSPLIT]
    assert dataset.classes == tuple(sorted(shapes.CLASSES))
    assert np.bincount(split.labels).tolist() == [5] * 6
    np.testing.assert_array_equal(split.take([7, 4]).images.load(1).numpy(), shapes.draw(24, 2, 4))
    kept = in_memory(split, Resize(24), 10**6)
    batches = zip(evaluation_batches(split, Resize(24), 8), evaluation_batches(kept, Resize(24), 8), strict=True)
    for drawn, remembered in batches:
        np.testing.assert_array_equal(drawn["image"], remembered["image"])
    np.testing.assert_array_equal(split.take([7, 4]).images.hashes(), split.images.hashes()[[7, 4]])
    assert len({row.tobytes() for row in split.images.hashes()}) == 30


def test_shapes_are_brighter_than_what_is_behind_them_in_any_colour() -> None:
    pictures = np.stack([shapes.draw(48, 1, i) for i in range(60)])
    brightness = pictures.max(-1).reshape(60, -1)
    assert np.median(brightness, axis=1).max() < 120
    assert np.percentile(brightness, 98, axis=1).min() > 180
    strongest = [picture.reshape(-1, 3)[picture.max(-1).ravel() > 180].mean(0).argmax() for picture in pictures]
    assert np.bincount(strongest).min() > 10


def test_classes_of_shapes_can_be_told_apart() -> None:
    """Each covers its own part of the square that it fits, whatever its colour; here, without a background."""
    axis = np.linspace(-1, 1, 65)
    inside = {name: shapes._DISTANCES[name](*np.meshgrid(axis, axis)) < 0 for name in shapes.CLASSES}
    for one in shapes.CLASSES:
        assert 0.1 < inside[one].mean() < 0.8
        assert all((inside[one] != inside[other]).mean() > 0.05 for other in shapes.CLASSES if other != one)


def excluding(root: Path, *lines: str, **fields: Any):
    path = root / "exclude.txt"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    return open_folder(root, exclude=str(path), **fields)


def test_listed_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}/{i}.png" for name in ("cat", "dög") for i in range(3)))
    dataset = excluding(tmp_path, "cat/1.png", "", str(tmp_path / "dög" / "0.png"), "./dög/2.png\r", "")
    assert by_class(dataset, UNSPLIT) == {"cat": ["cat/0.png", "cat/2.png"], "dög": ["dög/1.png"]}
    assert len(dataset.splits[UNSPLIT].labels) == 3


def test_a_class_that_a_list_takes_out_of_validation_is_named_unless_nothing_is_left(tmp_path: Path) -> None:
    make(tmp_path, *(f"{split}/{name}/1.png" for split in ("train", "val") for name in ("cat", "dog")))
    dataset = excluding(tmp_path, "val/dog/1.png")
    assert by_class(dataset, "validation") == {"cat": ["val/cat/1.png"], "dog": []}
    assert [note.partition("exclude.txt ")[2] for note in dataset.notes] == [
        "leaves validation no images of dog: nothing is measured for it there"
    ]
    with pytest.raises(DataError, match=r"leaves no image of class 'cat' in validation"):
        excluding(tmp_path, "val/dog/1.png", "val/cat/1.png")
    with pytest.raises(DataError, match=r"leaves no image of class 'cat' in train"):
        excluding(tmp_path, "train/cat/1.png")


def test_a_line_that_names_no_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    with pytest.raises(DataError, match=r"exclude\.txt, line 2: .* has no image 'cat/3\.png'"):
        excluding(tmp_path, "cat/1.png", "cat/3.png")
    with pytest.raises(DataError, match=r"leaves no image of class 'dog' in all"):
        excluding(tmp_path, "dog/1.png")
    with pytest.raises(DataError, match=r"data\.exclude=.* cannot be read"):
        open_folder(tmp_path, exclude=str(tmp_path / "gone.txt"))


def test_a_line_may_name_an_image_of_a_class_that_is_not_used(tmp_path: Path) -> None:
    make(tmp_path, *(f"{name}/{i}.png" for name in ("ant", "cat", "dog") for i in range(2)))
    dataset = excluding(tmp_path, "ant/1.png", "cat/0.png", classes=("dog", "cat"))
    assert by_class(dataset, UNSPLIT) == {"dog": ["dog/0.png", "dog/1.png"], "cat": ["cat/1.png"]}


def test_names_are_a_sequence_of_strings_in_one_block() -> None:
    given = ["a/1.png", "", "ä ö", "\udcff.png", "a/1.png"]
    names = Names.of(given)
    assert list(names) == given
    assert names == tuple(given)
    assert names[-1] == "a/1.png"
    assert list(names[1:3]) == given[1:3]
    assert list(names.take(np.asarray([3, 0]))) == [given[3], given[0]]
    assert names.take(np.asarray([3])).block is names.block
    assert names != given[:-1]
