"""Data sets by name: `folder:DIR`, `tfds:NAME[:CONFIG]` and `digits`, as labelled examples in a fixed order."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cnn_jax.config import DataConfig
from cnn_jax.data.tensorflow import tf
from cnn_jax.errors import ConfigError, DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
UNSPLIT = "all"
"""The name of the one split of a data set that does not come split."""


class Images(Protocol):
    """Where the images of a split are; loads one inside a TensorFlow graph."""

    def load(self, index: Any) -> Any:
        """int64[] to uint8[h, w, 3] or uint8[h, w, 1]; raises InvalidArgumentError for an image that cannot be read."""

    def take(self, indices: np.ndarray) -> "Images":
        """Only these, in this order."""

    def fingerprint(self) -> str:
        """Changes with the content of any image, as far as that shows without decoding them."""


@dataclass(frozen=True)
class Split:
    """Labelled examples in a fixed order."""

    ids: tuple[str, ...]
    """Names that stay the same from run to run: paths below the data set's folder, or numbers."""
    labels: np.ndarray
    """int32[n]"""
    images: Images

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Only these examples, in this order."""
        chosen = np.asarray(indices, np.int64)
        return Split(tuple(self.ids[i] for i in chosen), self.labels[chosen], self.images.take(chosen))


@dataclass(frozen=True)
class Dataset:
    """Class names in the order of the labels, and splits by name: train, validation and test, or `UNSPLIT` alone."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]


@dataclass(frozen=True)
class FileImages:
    """Image files."""

    paths: np.ndarray

    def load(self, index: Any) -> Any:
        return _decode(tf().io.read_file(tf().gather(_outside_of_graph(self.paths), index)))

    def take(self, indices: np.ndarray) -> "FileImages":
        return FileImages(self.paths[indices])

    def fingerprint(self) -> str:
        stats = ((path, os.stat(path)) for path in self.paths)
        return _sha256(repr([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]).encode())


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory, uint8[n, h, w, channels]."""

    pixels: np.ndarray

    def load(self, index: Any) -> Any:
        return tf().gather(_outside_of_graph(self.pixels), index)

    def take(self, indices: np.ndarray) -> "ArrayImages":
        return ArrayImages(self.pixels[indices])

    def fingerprint(self) -> str:
        return _sha256(repr(self.pixels.shape).encode() + np.ascontiguousarray(self.pixels).tobytes())


@dataclass(frozen=True)
class EncodedImages:
    """Encoded images from a random-access source: `read(i)` gives the bytes of the i-th file."""

    read: Callable[[int], bytes]
    indices: np.ndarray
    name: str
    """Of the data set, its version and split: prepared data sets do not change."""

    def load(self, index: Any) -> Any:
        position = tf().gather(tf().constant(self.indices), index)
        return _decode(tf().numpy_function(lambda i: self.read(int(i)), [position], tf().string))

    def take(self, indices: np.ndarray) -> "EncodedImages":
        return EncodedImages(self.read, self.indices[indices], self.name)

    def fingerprint(self) -> str:
        return _sha256(repr((self.name, self.indices.tolist())).encode())


def _outside_of_graph(array: np.ndarray) -> Any:
    """The array as a tensor that graphs refer to; a constant inside of them is copied, and limited to 2 GB."""
    with tf().init_scope():
        return tf().constant(array)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _decode(encoded: Any) -> Any:
    return tf().io.decode_image(encoded, channels=3, expand_animations=False)


def open_dataset(config: DataConfig) -> Dataset:
    """The data set that `config.dataset` names, with the classes that `config.classes` asks for.

    Raises:
        ConfigError: a name of an unknown form, or classes that the data set lacks.
        DataError: a folder that is missing, empty or without classes; a data set that cannot be fetched.
    """
    kind, _, rest = config.dataset.partition(":")
    if kind == "folder" and rest:
        dataset = _open_folder(config.dataset, Path(rest).expanduser(), config.classes)
    elif kind == "tfds" and rest:
        dataset = _open_tfds(config.dataset, rest, config.data_dir)
    elif config.dataset == "digits":
        dataset = _open_digits()
    else:
        raise ConfigError(f"data.dataset={config.dataset!r} is not possible: give folder:DIR, tfds:NAME or digits")
    return dataset if config.classes is None else select_classes(dataset, config.classes, "data.classes")


def select_classes(dataset: Dataset, classes: tuple[str, ...], field: str) -> Dataset:
    """The data set with these classes in this order; examples of others are left out.

    Raises:
        ConfigError: a class that the data set lacks; `field` is what the message names.
    """
    unknown = [name for name in classes if name not in dataset.classes]
    if unknown:
        raise ConfigError(f"{field}: {dataset.name} has no class {unknown[0]!r}; it has: {', '.join(dataset.classes)}")
    return _relabel(dataset, classes)


def align_classes(dataset: Dataset, classes: tuple[str, ...], source: str) -> Dataset:
    """The data set with labels that count in `classes`, matched by name; it may have fewer classes.

    Raises:
        DataError: it has a class that is not among them; `source` says whose classes they are.
    """
    unknown = [name for name in dataset.classes if name not in classes]
    if unknown:
        raise DataError(
            f"data.dataset={dataset.name} has classes that {source} does not know: {', '.join(unknown)}. "
            f"It knows: {', '.join(classes)}. Rename the folders, or leave classes out with --data.classes"
        )
    return _relabel(dataset, classes)


def _relabel(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The same data set with labels that count in `classes`, without the examples of other classes."""
    if classes == dataset.classes:
        return dataset
    position = {name: label for label, name in enumerate(classes)}
    new_label = np.asarray([position.get(name, -1) for name in dataset.classes], np.int32)
    splits = {}
    for name, split in dataset.splits.items():
        kept = split.take(np.flatnonzero(new_label[split.labels] >= 0))
        splits[name] = replace(kept, labels=new_label[kept.labels])
    return Dataset(dataset.name, classes, splits)


def _open_folder(name: str, folder: Path, wanted: tuple[str, ...] | None) -> Dataset:
    if not folder.is_dir():
        raise DataError(f"data.dataset={name}: there is no folder {folder}")
    found = {split: [folder / n for n in names if (folder / n).is_dir()] for split, names in SPLIT_FOLDERS.items()}
    if not found["train"]:
        return _scan_splits(name, folder, {UNSPLIT: folder}, wanted)
    for split, folders in found.items():
        if len(folders) > 1:
            raise DataError(
                f"{folder} has more than one {split} folder ({', '.join(f.name for f in folders)}): keep one"
            )
    return _scan_splits(name, folder, {split: folders[0] for split, folders in found.items() if folders}, wanted)


def _scan_splits(name: str, root: Path, folders: dict[str, Path], wanted: tuple[str, ...] | None) -> Dataset:
    """Read the class folders of each split; all splits must have the classes of the first.

    Where all `wanted` classes are there, the other folders are left alone: they may be empty.
    """
    classes: tuple[str, ...] = ()
    splits = {}
    for split, folder in folders.items():
        here = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
        if wanted is not None and set(wanted) <= set(here):
            here = tuple(sorted(wanted))
        if len(here) < 2:
            raise DataError(
                f"{folder} needs a folder for each class, at least two, with the images inside; "
                f"it has {'none' if not here else here[0]!r}"
            )
        if classes and here != classes:
            odd = sorted(set(here) ^ set(classes))
            raise DataError(
                f"{folder} has other classes than the train folder: {', '.join(odd)} is in only one of them"
            )
        classes = here
        splits[split] = _scan_classes(root, folder, classes)
    return Dataset(name, classes, splits)


def _scan_classes(root: Path, folder: Path, classes: tuple[str, ...]) -> Split:
    files: list[str] = []
    labels: list[int] = []
    for label, class_name in enumerate(classes):
        images = image_files(folder / class_name)
        if not images:
            raise DataError(
                f"{folder / class_name} has no images ({', '.join(IMAGE_SUFFIXES)}): "
                "fill it, remove it, or leave the class out with --data.classes"
            )
        files += images
        labels += [label] * len(images)
    ids = tuple(os.path.relpath(path, root).replace(os.sep, "/") for path in files)
    return Split(ids, np.asarray(labels, np.int32), FileImages(np.asarray([os.fsencode(f) for f in files], object)))


def image_files(folder: Path) -> list[str]:
    """Image files at any depth, sorted by path; hidden ones are skipped."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            os.path.join(parent, name)
            for name in names
            if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)
        ]
    return sorted(found)


def _open_digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8x8 pixels of 0 to 16, brought to 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    ids = tuple(f"digits/{i:04d}" for i in range(len(pixels)))
    split = Split(ids, digits.target.astype(np.int32), ArrayImages(pixels))
    return Dataset("digits", tuple(str(name) for name in digits.target_names), {UNSPLIT: split})


def _open_tfds(name: str, spec: str, data_dir: str | None) -> Dataset:
    """A TFDS data set, prepared as ArrayRecord files so that examples can be read in any order, undecoded."""
    tf()  # before tfds, so that it stays off accelerators
    import tensorflow_datasets as tfds

    tfds_name = spec.replace(":", "/")
    try:
        builder = tfds.builder(tfds_name, data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare()
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(f"data.dataset={name}: TFDS knows no data set {tfds_name!r}") from error
    except Exception as error:  # TFDS lets network, disk and checksum errors of many kinds through
        raise DataError(
            f"data.dataset={name}: the data set could not be prepared ({type(error).__name__}: {error}).\n"
            f"  Give the folder of a prepared copy with --data.data_dir, or your own images with "
            f"--data.dataset=folder:DIR.\n  Without a network, this works: python -m cnn_jax.train --exp=quickstart"
        ) from error
    if not {"image", "label"} <= set(builder.info.features or {}):
        raise DataError(
            f"data.dataset={name}: its examples have no `image` and `label`, so it is no classification set"
        )
    classes = tuple(builder.info.features["label"].names)
    splits = {split: _open_tfds_split(builder, split) for split in builder.info.splits}
    if set(splits) & {"validation", "test"}:
        return Dataset(name, classes, {split: value for split, value in splits.items() if split in SPLIT_FOLDERS})
    if "train" not in splits:
        raise DataError(f"data.dataset={name} has no train split; it has: {', '.join(splits)}")
    return Dataset(name, classes, {UNSPLIT: splits["train"]})


def _open_tfds_split(builder: Any, split: str) -> Split:
    import tensorflow_datasets as tfds

    source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    labels = np.fromiter((example["label"] for example in source), np.int32, len(source))
    name = f"{builder.info.full_name}/{split}"
    images = EncodedImages(lambda i: source[i]["image"], np.arange(len(source)), name)
    return Split(tuple(f"{name}/{i}" for i in range(len(source))), labels, images)
