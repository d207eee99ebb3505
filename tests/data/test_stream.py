"""Batches: the same whatever the threads, the processes and the step from which a run goes on."""

import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.config import AugmentConfig, DataConfig
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import ArrayImages, Images, Split, open_dataset
from cnn_jax.data.stream import (
    Batch,
    TrainStream,
    evaluation_batches,
    in_memory,
    pass_order,
    steps_per_pass,
    unreadable,
)
from cnn_jax.errors import DataError
from tests.conftest import write_image

SIZE = 12
RESIZE = Resize(SIZE)
STRONG = AugmentConfig(horizontal_flip=True, rotation=30, width_shift=0.2, height_shift=0.2, shear=10, zoom=0.3)
BAD_FILES = ["text", "truncated jpeg", "truncated png", "empty", "dangling link"]


def made_up(count: int) -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 20, 3), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int32) % 3
    return Split(tuple(f"example {i}" for i in range(count)), labels, ArrayImages(pixels))


def stream(count: int = 10, batch_size: int = 4, seed: int = 3, **fields: object) -> TrainStream:
    return TrainStream(made_up(count), RESIZE, batch_size, seed, **fields)  # type: ignore[arg-type]


def take(source: TrainStream, steps: int, first_step: int = 0, parallel_calls: int | None = None) -> list[Batch]:
    return list(islice(source.batches(first_step, parallel_calls), steps))


def assert_equal(ours: list[Batch], expected: list[Batch]) -> None:
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert one.keys() == other.keys() == {"image", "label", "index", "mask"}
        for key, value in one.items():
            assert value.dtype == other[key].dtype
            np.testing.assert_array_equal(value, other[key])


def joined(parts: list[list[Batch]]) -> list[Batch]:
    """The batches of several processes, put together step by step."""
    return [{key: np.concatenate([b[key] for b in step]) for key in step[0]} for step in zip(*parts, strict=True)]


def test_batches_do_not_depend_on_the_number_of_threads() -> None:
    source = stream(augment=STRONG)
    one, eight = take(source, 9, parallel_calls=1), take(source, 9, parallel_calls=8)
    assert_equal(eight, one)
    assert_equal(take(source, 9), one)


@pytest.mark.parametrize("kind", ["every format", "shapes"])
def test_decoded_and_drawn_images_do_not_depend_on_threads_or_the_first_step(tmp_path: Path, kind: str) -> None:
    config = DataConfig(dataset="shapes", shapes_examples=12, shapes_size=16)
    if kind == "every format":
        config = DataConfig(dataset=f"folder:{tmp_path}")
        lying, rng = PIL.Image.Exif(), np.random.default_rng(0)
        lying[0x0112] = 6
        for i, (name, mode) in enumerate([("jpg", "RGB"), ("png", "P"), ("bmp", "P"), ("gif", "P"), ("jpeg", "CMYK")]):
            for class_name in ("a", "b"):
                picture = PIL.Image.fromarray(rng.integers(0, 256, (14, 18, 3), dtype=np.uint8)).convert(mode)
                (tmp_path / class_name).mkdir(exist_ok=True)
                picture.save(tmp_path / class_name / f"{i}.{name}", **({"exif": lying} if name == "jpg" else {}))
    source = TrainStream(open_dataset(config).splits["all"], RESIZE, 4, 3, STRONG)
    one = take(source, 7, parallel_calls=1)
    assert_equal(take(source, 7, parallel_calls=8), one)
    assert_equal(take(source, 3, first_step=4, parallel_calls=8), one[4:])


class SlowImages:
    """Images of which some take longer to read, so that threads finish in another order."""

    def __init__(self, images: Images, slow: np.ndarray) -> None:
        self.images = images
        self.slow = slow

    def load(self, index: Any) -> Any:
        def wait(i: np.ndarray) -> np.ndarray:
            time.sleep(0.1 if i in self.slow else 0)
            return i

        return self.images.load(tf.ensure_shape(tf.numpy_function(wait, [index], tf.int64), ()))

    def take(self, indices: np.ndarray) -> Images:
        raise NotImplementedError


def test_batches_do_not_depend_on_which_images_are_read_first() -> None:
    split = made_up(16)
    first_batch = pass_order(16, 4, 3, 0)[:4]
    source, slow = stream(16), replace(split, images=SlowImages(split.images, first_batch))
    for calls in (1, 8, 16):
        assert_equal(take(replace(source, split=slow), 4, parallel_calls=calls), take(source, 4))
    slow = replace(split, images=SlowImages(split.images, np.arange(4)))
    assert_equal(list(evaluation_batches(slow, RESIZE, 4)), list(evaluation_batches(split, RESIZE, 4)))


@pytest.mark.long
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 20), st.integers(1, 11), st.integers(1, 12))
def test_batches_from_any_step_on_are_those_of_a_run_that_never_stopped(
    first_step: int, count: int, batch_size: int
) -> None:
    source = stream(count, batch_size, augment=STRONG)
    assert_equal(take(source, 2, first_step), take(source, first_step + 2)[first_step:])


def test_a_step_far_in_the_future_is_there_at_once() -> None:
    assert_equal(take(stream(augment=STRONG), 1, 10**12), take(stream(augment=STRONG), 1, 10**12))


@pytest.mark.sample(1)
@pytest.mark.parametrize("processes", [2, 4])
def test_the_parts_of_the_processes_make_up_the_batch_of_one(processes: int) -> None:
    parts = [take(stream(augment=STRONG, process=p, processes=processes), 7) for p in range(processes)]
    assert_equal(joined(parts), take(stream(augment=STRONG), 7))


@pytest.mark.parametrize(("count", "batch_size", "steps"), [(10, 4, 3), (10, 5, 2), (7, 1, 7), (8, 8, 1), (3, 8, 1)])
def test_each_pass_shows_every_example_at_least_once(count: int, batch_size: int, steps: int) -> None:
    assert steps_per_pass(count, batch_size) == steps
    batches = take(stream(count, batch_size), 3 * steps)
    orders = []
    for number in range(3):
        indices = np.concatenate([batch["index"] for batch in batches[number * steps : (number + 1) * steps]])
        assert len(indices) == steps * batch_size
        visits = np.bincount(indices, minlength=count)
        assert visits.min() >= 1
        assert visits.max() - visits.min() <= 1
        assert set(indices[:count]) == set(range(count)), "the first are a whole permutation"
        orders.append(tuple(indices))
    assert len(set(orders)) == 3, "each pass has an order of its own"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 100), st.integers(0, 2**31 - 1), st.integers(0, 1000))
def test_the_order_of_a_pass_fills_its_batches_evenly(count: int, batch_size: int, seed: int, number: int) -> None:
    order = pass_order(count, batch_size, seed, number)
    assert len(order) == steps_per_pass(count, batch_size) * batch_size
    visits = np.bincount(order, minlength=count)
    assert visits.min() >= 1
    assert visits.max() - visits.min() <= 1


def test_images_and_labels_are_those_of_the_index() -> None:
    split = made_up(10)
    for batch in take(stream(), 5):
        assert batch["image"].shape == (4, SIZE, SIZE, 3)
        assert batch["image"].dtype == np.uint8
        assert batch["label"].dtype == np.int32
        assert batch["mask"].all()
        np.testing.assert_array_equal(batch["label"], split.labels[batch["index"]])
        for image, index in zip(batch["image"], batch["index"], strict=True):
            np.testing.assert_array_equal(image, RESIZE(split.images.load(index)))


def test_another_seed_gives_another_order() -> None:
    first, second = (np.concatenate([b["index"] for b in take(stream(seed=s), 3)]) for s in (0, 1))
    assert (first != second).any()


def test_an_image_is_changed_anew_at_every_visit() -> None:
    visits = [b["image"][0].tobytes() for b in take(stream(1, 1, augment=AugmentConfig(rotation=30)), 30)]
    assert len(set(visits)) == 30
    within = take(stream(1, 30, augment=AugmentConfig(rotation=30)), 1)[0]["image"]
    assert len({image.tobytes() for image in within}) == 30
    other_seed = take(stream(1, 1, seed=4, augment=AugmentConfig(rotation=30)), 30)
    assert not {b["image"][0].tobytes() for b in other_seed} & set(visits)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 33, 40])
def test_evaluation_shows_every_example_once_in_order(batch_size: int) -> None:
    split = made_up(33)
    batches = list(evaluation_batches(split, RESIZE, batch_size))
    assert len(batches) == -(-33 // batch_size)
    assert all(b["image"].shape == (batch_size, SIZE, SIZE, 3) for b in batches)
    real = {key: np.concatenate([b[key][b["mask"]] for b in batches]) for key in ("image", "label", "index")}
    assert real["index"].tolist() == list(range(33))
    np.testing.assert_array_equal(real["label"], split.labels)
    for i, image in enumerate(real["image"]):
        np.testing.assert_array_equal(image, RESIZE(split.images.load(i)))
    mask = np.concatenate([b["mask"] for b in batches])
    assert mask.dtype == bool
    assert mask.tolist() == [True] * 33 + [False] * (len(mask) - 33), "the padding is at the end"


@pytest.mark.parametrize("batch_size", [2, 8, 32, 40])
def test_the_parts_of_two_processes_make_up_the_evaluation_of_one(batch_size: int) -> None:
    split = made_up(17)
    parts = [list(evaluation_batches(split, RESIZE, batch_size, process, 2)) for process in range(2)]
    assert_equal(joined(parts), list(evaluation_batches(split, RESIZE, batch_size)))


def spoil(path: Path, how: str) -> None:
    """Put a file that is no image in the place of one."""
    good = path.read_bytes()
    path.unlink()
    if how == "text":
        path.write_text("this is no picture")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "dangling link":
        path.symlink_to(path.with_name("nowhere.png"))
    elif how == "truncated png":
        path.write_bytes(good[: len(good) // 2])
    else:
        pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
        jpeg = tf.io.encode_jpeg(pixels).numpy()
        path.write_bytes(jpeg[: len(jpeg) // 2])


def files(tmp_path: Path, **spoiled: str) -> Split:
    rng = np.random.default_rng(0)
    for class_name in ("a", "b"):
        for i in range(6):
            write_image(tmp_path / class_name / f"{i}.png", rng.integers(0, 256, (30, 30, 3), dtype=np.uint8))
    for name, how in spoiled.items():
        spoil(tmp_path / name[0] / f"{name[1:]}.png", how)
    return open_dataset(DataConfig(dataset=f"folder:{tmp_path}")).splits["all"]


def assert_names_only(message: str, expected: str, split: Split) -> None:
    assert message.startswith(f"{expected} cannot be read as an image: ")
    assert [id_ for id_ in split.ids if id_ in message] == [expected]
    assert "--data.unreadable=skip" in message


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", BAD_FILES)
@pytest.mark.parametrize("augment", [AugmentConfig(), STRONG], ids=["plain", "augmented"])
def test_training_stops_at_a_file_that_cannot_be_read_and_names_it(
    tmp_path: Path, how: str, augment: AugmentConfig
) -> None:
    split = files(tmp_path, b2=how)
    order = pass_order(12, 2, 3, 0).tolist()
    step = order.index(split.ids.index("b/2.png")) // 2
    seen = []
    with pytest.raises(DataError) as caught:
        seen.extend(islice(TrainStream(split, RESIZE, 2, 3, augment).batches(), 6))
    assert_names_only(str(caught.value), "b/2.png", split)
    assert step > 0
    resumed = TrainStream(split, RESIZE, 2, 3, augment).batches(step)
    with pytest.raises(DataError, match=r"^b/2\.png"):
        next(resumed)


@pytest.mark.parametrize("how", BAD_FILES)
@pytest.mark.parametrize("batch_size", [1, 5, 20])
def test_evaluation_stops_at_a_file_that_cannot_be_read_and_names_it(tmp_path: Path, how: str, batch_size: int) -> None:
    split = files(tmp_path, b1=how)
    with pytest.raises(DataError) as caught:
        list(evaluation_batches(split, RESIZE, batch_size))
    assert_names_only(str(caught.value), "b/1.png", split)


def test_batches_before_a_file_that_cannot_be_read_are_those_of_good_files(tmp_path: Path) -> None:
    good = list(evaluation_batches(files(tmp_path), RESIZE, 2))
    batches = evaluation_batches(files(tmp_path, b3="text"), RESIZE, 2)
    assert_equal(list(islice(batches, 4)), good[:4])
    with pytest.raises(DataError, match=r"^b/3\.png"):
        next(batches)


def test_the_first_of_several_files_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    split = files(tmp_path, b4="text", a5="empty", b0="truncated jpeg")
    with pytest.raises(DataError) as caught:
        list(evaluation_batches(split, RESIZE, 4))
    assert_names_only(str(caught.value), "a/5.png", split)


def test_among_good_images_none_is_found_that_cannot_be_read() -> None:
    assert unreadable(made_up(9)) == []


def test_exactly_the_files_that_cannot_be_read_are_found(tmp_path: Path) -> None:
    spoiled = dict(zip(("a0", "a3", "b0", "b1", "b5"), BAD_FILES, strict=True))
    split = files(tmp_path, **spoiled)
    seen: list[int] = []
    unreadable(split, seen.append)
    assert sum(seen) == len(split)
    assert [split.ids[i] for i in unreadable(split)] == [f"{name[0]}/{name[1:]}.png" for name in spoiled]
    bad = set(unreadable(split))
    kept = split.take([i for i in range(len(split)) if i not in bad])
    assert unreadable(kept) == []
    assert sum(int(b["mask"].sum()) for b in evaluation_batches(kept, RESIZE, 4)) == 7


def test_splits_are_kept_in_memory_only_within_the_budget(image_folder: Path) -> None:
    split = open_dataset(DataConfig(dataset=f"folder:{image_folder}")).splits["train"]
    size = 24 * 8 * 8 * 3
    assert in_memory(split, Resize(8), size - 1) is split
    kept = in_memory(split, Resize(8), size)
    assert (kept.ids, kept.labels.tolist()) == (split.ids, split.labels.tolist())
    assert_equal(list(evaluation_batches(kept, Resize(8), 7)), list(evaluation_batches(split, Resize(8), 7)))
