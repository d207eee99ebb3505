"""Resizing, held against Keras' two ways to read a folder."""

import shutil
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnn_jax.config import DataConfig
from cnn_jax.config.image_size import ImageSize, sides
from cnn_jax.data.decode import decode
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import UNSPLIT, open_dataset
from tests.conftest import write_image
from tests.data.pictures import photograph

SHAPES = [(20, 31), (200, 97), (33, 33), (1, 5), (64, 64)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resize")
    for class_name in ("10", "2", "b"):
        for i, shape in enumerate(SHAPES):
            write_image(root / class_name / f"{i}.png", np.asarray(photograph(*shape)))
    return root


def from_directory(root: Path, size: ImageSize, **options: object) -> keras.utils.Sequence:
    return keras.utils.image_dataset_from_directory(
        str(root), image_size=sides(size), shuffle=False, batch_size=None, verbose=False, **options
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize("size", [33, (16, 21)])
def test_files_labels_and_pixels_are_those_of_image_dataset_from_directory(
    folder: Path, size: ImageSize, fit: str, interpolation: str
) -> None:
    reference = from_directory(folder, size, interpolation=interpolation, crop_to_aspect_ratio=fit == "crop")
    dataset = open_dataset(DataConfig(dataset=f"folder:{folder}"))
    split, resize = dataset.splits[UNSPLIT], Resize(size, fit, interpolation)
    assert [str(folder / id_) for id_ in split.ids] == reference.file_paths
    assert dataset.classes == tuple(reference.class_names)
    examples = list(reference.as_numpy_iterator())
    assert len(examples) == len(split)
    for i, (pixels, label) in enumerate(examples):
        ours = resize(split.images.load(i)).numpy()
        assert (ours.shape, ours.dtype, split.labels[i]) == ((*sides(size), 3), np.uint8, label)
        assert np.abs(ours.astype(np.float64) - np.clip(pixels, 0, 255)).max() <= 0.5001  # ours are rounded


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_nearest_pixels_are_those_of_load_img(folder: Path, fit: str) -> None:
    """At sizes where no position falls between two pixels but for rounding."""
    for path in sorted(folder.glob("2/*.png")):
        for size in (16, (32, 16)):
            reference = keras.utils.load_img(path, target_size=sides(size), keep_aspect_ratio=fit == "crop")
            ours = Resize(size, fit, "nearest")(decode(tf.constant(path.read_bytes()), "drop")).numpy()
            np.testing.assert_array_equal(ours, np.asarray(reference))


@pytest.mark.parametrize(("interpolation", "steps"), [("bilinear", 1), ("bicubic", 2)])
def test_antialiased_pixels_are_those_of_load_img(folder: Path, interpolation: str, steps: int) -> None:
    """Pillow rounds after rows and again after columns."""
    for path in sorted(folder.glob("2/*.png")):
        for size in (16, (33, 24)):
            reference = keras.utils.load_img(path, target_size=sides(size), interpolation=interpolation)
            ours = Resize(size, "squash", interpolation, True)(decode(tf.constant(path.read_bytes()), "drop")).numpy()
            assert np.abs(ours.astype(int) - np.asarray(reference)).max() <= steps


def test_real_photographs_are_those_of_keras_within_its_decoders_rounding(tmp_path: Path, real_data: Path) -> None:
    """Its two readers decode JPEG files differently: `load_img` as we do, the other with a coarser transform."""
    for class_name in ("cats", "dogs"):
        (tmp_path / class_name).mkdir()
        for path in sorted((real_data / "cats_and_dogs" / "train" / class_name).iterdir())[:8]:
            shutil.copy(path, tmp_path / class_name)
    split = open_dataset(DataConfig(dataset=f"folder:{tmp_path}")).splits[UNSPLIT]
    reference = from_directory(tmp_path, 224)
    for i, (pixels, _) in enumerate(reference.as_numpy_iterator()):
        encoded = (tmp_path / split.ids[i]).read_bytes()
        coarse = tf.io.decode_image(encoded, 3, expand_animations=False).numpy().astype(int)
        rounding = np.abs(split.images.load(i).numpy() - coarse)
        difference = np.abs(Resize(224)(split.images.load(i)).numpy() - pixels)
        assert difference.max() <= rounding.max() + 0.5001
        assert difference.mean() <= rounding.mean() + 0.5
        exact = keras.utils.load_img(tmp_path / split.ids[i], target_size=(224, 224))
        np.testing.assert_array_equal(Resize(224, interpolation="nearest")(split.images.load(i)), np.asarray(exact))


def test_one_channel_becomes_three_equal_ones() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (9, 12, 1), dtype=np.uint8)
    resized = Resize(7)(tf.constant(gray)).numpy()
    np.testing.assert_array_equal(resized, Resize(7)(tf.constant(np.repeat(gray, 3, -1))).numpy())
    assert (resized == resized[..., :1]).all()


def test_an_image_of_the_wanted_size_is_not_changed() -> None:
    image = np.asarray(photograph(32, 32))
    for interpolation in ("bilinear", "nearest", "bicubic"):
        np.testing.assert_array_equal(Resize(32, "crop", interpolation)(tf.constant(image)).numpy(), image)


def test_the_configuration_says_how() -> None:
    data = DataConfig(resize="crop", interpolation="bicubic", antialias=True)
    assert Resize.of(data, 9) == Resize(9, "crop", "bicubic", True)
    assert Resize.of(DataConfig(), 9) == Resize(9)


@pytest.mark.parametrize(("interpolation", "antialias"), [("bilinear", False), ("nearest", False), ("bicubic", True)])
@pytest.mark.parametrize("shape", [*SHAPES, (400, 3), (1, 1000)])
@pytest.mark.parametrize("size", [33, (33, 20)])
def test_padded_pixels_are_those_of_tensorflow(
    shape: tuple[int, int], size: ImageSize, interpolation: str, antialias: bool
) -> None:
    image, wanted = np.asarray(photograph(*shape)), sides(size)
    ours = Resize(size, "pad", interpolation, antialias)(tf.constant(image)).numpy()
    scale = min(Fraction(after, before) for after, before in zip(wanted, shape, strict=True))
    kept = [int(side * scale) for side in shape]
    if min(kept) >= 1:  # of less, TensorFlow makes no picture
        expected = tf.image.resize_with_pad(image, *wanted, interpolation, antialias).numpy()
        assert np.abs(ours.astype(np.float64) - np.clip(expected, 0, 255)).max() <= 0.5001
    assert [ours.sum(-1).any(1).sum(), ours.sum(-1).any(0).sum()] == [max(side, 1) for side in kept]


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
def test_arrays_get_the_pixels_of_the_graph_bit_for_bit(fit: str, interpolation: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        height, width = rng.integers(1, 700, 2)
        image = rng.integers(0, 256, (height, width, rng.choice([1, 3])), dtype=np.uint8)
        rows, columns = (int(side) for side in rng.choice([1, 7, 96, 224, 299], 2))
        resize = Resize((rows, columns) if rng.integers(2) else rows, fit, interpolation)
        np.testing.assert_array_equal(resize.array(image), resize(tf.constant(image)).numpy(), err_msg=str(image.shape))
