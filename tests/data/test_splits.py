"""Which example is in which split: drawn class by class, recorded, and read back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.config import DataConfig
from cnn_jax.data.sources import UNSPLIT, ArrayImages, Dataset, Split, open_dataset
from cnn_jax.data.splits import partition, read, write
from cnn_jax.errors import DataError


def made_up(counts: list[int], split: str = UNSPLIT, seed: int = 0) -> Split:
    """As many examples of each class, mixed; the one pixel of an example tells its number."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts), dtype=np.int32), counts))
    pixels = np.arange(len(labels)).astype(np.uint8).reshape(-1, 1, 1, 1)
    return Split(tuple(f"{split}/{i}" for i in range(len(labels))), labels, ArrayImages(pixels))


def dataset_of(**splits: Split) -> Dataset:
    classes = max(int(split.labels.max()) for split in splits.values()) + 1
    return Dataset("made up", tuple(f"class {i}" for i in range(classes)), splits)


def ids(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {name: split.ids for name, split in dataset.splits.items()}


def assert_belongs_together(part: Split, whole: Split) -> None:
    """Labels and images of a part are those that its ids have in the whole."""
    for i, id_ in enumerate(part.ids):
        place = whole.ids.index(id_)
        assert part.labels[i] == whole.labels[place]
        assert part.images.load(i).numpy().item() == place % 256


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(20, 60), min_size=2, max_size=4),
    shares=st.sampled_from([(0.8, 0.2, 0.0), (0.7, 0.2, 0.1), (0.5, 0.0, 0.5), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.1, 0.0)]),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_class_is_divided_by_the_shares_and_every_example_is_in_one_split(
    counts: list[int], shares: tuple[float, float, float], seed: int
) -> None:
    whole = made_up(counts)
    divided = partition(dataset_of(**{UNSPLIT: whole}), shares, seed)
    wanted = {name: s for name, s in zip(("train", "validation", "test"), shares, strict=True) if s > 0}
    assert list(divided.splits) == list(wanted)
    for name, share in wanted.items():
        for label, count in enumerate(counts):
            assert abs((divided.splits[name].labels == label).sum() - share * count) <= 1
    everything = [id_ for part in ids(divided).values() for id_ in part]
    assert sorted(everything) == sorted(whole.ids)


def test_labels_and_images_stay_with_their_examples() -> None:
    whole = made_up([30, 40, 25])
    for part in partition(dataset_of(**{UNSPLIT: whole}), (0.7, 0.2, 0.1), 3).splits.values():
        assert_belongs_together(part, whole)


def test_the_same_seed_draws_the_same_splits_and_another_seed_others() -> None:
    dataset = dataset_of(**{UNSPLIT: made_up([40, 40])})
    drawn = [ids(partition(dataset, (0.8, 0.2, 0.0), seed)) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({parts["validation"] for parts in drawn}) == 3


def test_a_split_holds_a_random_part_of_each_class_not_its_beginning_or_end() -> None:
    labels = np.repeat(np.arange(2, dtype=np.int32), 100)
    split = Split(tuple(map(str, range(200))), labels, ArrayImages(np.zeros((200, 1, 1, 1), np.uint8)))
    validation = partition(dataset_of(**{UNSPLIT: split}), (0.5, 0.5, 0.0), 0).splits["validation"]
    for label in (0, 1):
        places = [
            int(i) - 100 * label for i, own in zip(validation.ids, validation.labels, strict=True) if own == label
        ]
        assert 35 < np.mean(places) < 65


def test_a_data_set_with_train_and_validation_images_stays_as_it_is() -> None:
    dataset = dataset_of(train=made_up([3, 4], "train"), validation=made_up([2, 2], "validation"))
    assert partition(dataset, (0.5, 0.3, 0.2), 0) is dataset


def test_validation_images_are_taken_from_train_where_a_data_set_has_none_and_its_test_images_stay() -> None:
    train, test = made_up([40, 80], "train"), made_up([5, 5], "test")
    divided = partition(dataset_of(train=train, test=test), (0.6, 0.2, 0.2), 0)
    assert list(divided.splits) == ["train", "validation", "test"]
    assert divided.splits["test"] is test
    assert np.bincount(divided.splits["validation"].labels).tolist() == [10, 20]
    assert sorted(divided.splits["train"].ids + divided.splits["validation"].ids) == sorted(train.ids)


def test_without_a_share_for_validation_train_stays_whole() -> None:
    dataset = dataset_of(train=made_up([3, 3], "train"), test=made_up([3, 3], "test"))
    assert partition(dataset, (1.0, 0.0, 0.0), 0) is dataset
    whole = made_up([3, 3])
    assert ids(partition(dataset_of(**{UNSPLIT: whole}), (1.0, 0.0, 0.0), 0)) == {"train": whole.ids}


@pytest.mark.parametrize(
    ("counts", "missing"), [([40, 2], "validation"), ([1, 40], "validation"), ([40, 0, 40], "train")]
)
def test_a_class_too_small_for_its_share_is_named_with_the_split(counts: list[int], missing: str) -> None:
    small = min(range(len(counts)), key=counts.__getitem__)
    with pytest.raises(DataError, match=f"'class {small}' has {counts[small]} images, too few .* in {missing}"):
        partition(dataset_of(**{UNSPLIT: made_up(counts)}), (0.8, 0.2, 0.0), 0)


def test_a_recorded_partition_is_read_back_the_same(tmp_path: Path) -> None:
    whole = made_up([30, 40])
    dataset = dataset_of(**{UNSPLIT: whole})
    divided = partition(dataset, (0.7, 0.2, 0.1), 5)
    write(divided, tmp_path / "split.json")
    back = read(dataset, tmp_path / "split.json")
    assert ids(back) == ids(divided)
    assert back.classes == divided.classes
    for name, part in back.splits.items():
        np.testing.assert_array_equal(part.labels, divided.splits[name].labels)
        assert_belongs_together(part, whole)


def test_the_record_lists_the_ids_of_each_split(tmp_path: Path) -> None:
    divided = partition(dataset_of(**{UNSPLIT: made_up([10, 10])}), (0.8, 0.2, 0.0), 0)
    write(divided, tmp_path / "split.json")
    record = json.loads((tmp_path / "split.json").read_text())
    assert record == {
        "classes": ["class 0", "class 1"],
        "splits": {name: list(part) for name, part in ids(divided).items()},
    }


def open_images(folder: Path) -> Dataset:
    return open_dataset(DataConfig(dataset=f"folder:{folder}"))


@pytest.mark.parametrize("shape", ["split", "in one piece"])
def test_files_that_came_later_are_left_out(tmp_path: Path, image_folder: Path, shape: str) -> None:
    folder = image_folder if shape == "split" else image_folder / "train"
    before = partition(open_images(folder), (0.75, 0.25, 0.0), 0)
    write(before, tmp_path / "split.json")
    for class_folder in {path.parent for path in folder.rglob("*.png")}:
        (class_folder / "00 new.png").write_bytes((class_folder / "00.png").read_bytes())
    after = read(open_images(folder), tmp_path / "split.json")
    assert ids(after) == ids(before)
    for name, part in before.splits.items():
        np.testing.assert_array_equal(after.splits[name].labels, part.labels)
        for i in range(len(part)):
            np.testing.assert_array_equal(after.splits[name].images.load(i), part.images.load(i))


def test_a_file_that_is_gone_is_named_with_the_record(tmp_path: Path, image_folder: Path) -> None:
    write(open_images(image_folder), tmp_path / "split.json")
    (image_folder / "train" / "red" / "03.png").unlink()
    (image_folder / "train" / "red" / "07.png").unlink()
    with pytest.raises(DataError, match=r"2 images that .*split\.json lists in train .* first is train/red/03\.png"):
        read(open_images(image_folder), tmp_path / "split.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"splits"}'])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataError) as caught:
        read(dataset_of(**{UNSPLIT: made_up([2, 2])}), tmp_path / "split.json")
    assert str(tmp_path / "split.json") in str(caught.value)


def test_names_of_any_bytes_survive_the_record(tmp_path: Path) -> None:
    names = ("a/ä ö.png", 'a/"quoted".png', "b/\udcff.png", "b/new\nline.png")
    split = Split(names, np.asarray([0, 0, 1, 1], np.int32), ArrayImages(np.zeros((4, 1, 1, 1), np.uint8)))
    dataset: Any = dataset_of(train=split)
    write(dataset, tmp_path / "split.json")
    assert read(dataset, tmp_path / "split.json").splits["train"].ids == names
