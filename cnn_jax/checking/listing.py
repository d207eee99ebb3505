"""Every image of a data set with its class and split, undecoded; what else lies in its folders.

Where training would stop at the first thing that is wrong, a listing goes on, and says it.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int8, Int32, Int64

from cnn_jax.checking.findings import Finding
from cnn_jax.checking.passed_by import passed_by, passed_by_flat, passed_by_table
from cnn_jax.config import DataConfig
from cnn_jax.config.data import Background
from cnn_jax.data.sources import UNSPLIT, Dataset, EncodedImages, FileImages, Images, Names, image_files, open_dataset
from cnn_jax.data.sources.dataset import TRAINED_ON, in_order, read_names
from cnn_jax.data.sources.folders import below, is_folder, split_folders, subfolders
from cnn_jax.errors import ConfigError, DataError
from cnn_jax.io.files import as_path
from cnn_jax.io.writing import is_remote


@dataclass(frozen=True)
class Listing:
    """The examples of a data set, in the order of its splits."""

    name: str
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    ids: Names
    """As in `Split.ids`."""
    split_of: Int8[np.ndarray, " n"]
    """Which of `splits`."""
    label_of: Int32[np.ndarray, " n"]
    """Which of `classes`."""
    read: Callable[[int], bytes]
    """The content of an image file; raises OSError."""
    folder: Path | None
    """What the ids are paths below, where they are paths."""
    background: Background
    """What shows through transparent pixels."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with the folders, before any image is looked at."""

    def __len__(self) -> int:
        return len(self.ids)

    def counts(self) -> Int64[np.ndarray, "splits classes"]:
        """Images by split and class."""
        table = np.zeros((len(self.splits), len(self.classes)), np.int64)
        np.add.at(table, (self.split_of, self.label_of), 1)
        return table


def list_images(config: DataConfig) -> Listing:
    """The images that `config` names, without those that `config.exclude` names.

    Raises:
        DataError: there is no such folder, or nothing in it that could be checked.
        ConfigError: a data set that has no files.
    """
    kind, _, rest = config.dataset.partition(":")
    if kind != "folder" or not rest:
        return _list_dataset(config)
    listing = _list_folder(config, as_path(rest))
    if not len(listing):
        open_dataset(config)  # which says what is wrong with the folder
        raise DataError(f"{config.dataset}: data.exclude leaves no images to check")
    return listing


def read_file(path: str) -> bytes:
    """The content of a regular file; opening a pipe or a device would wait for ever."""
    if is_remote(path):
        return as_path(path).read_bytes()
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(None, "it is no regular file")
    with open(path, "rb") as file:
        return file.read()


def _list_dataset(config: DataConfig) -> Listing:
    """A data set that is listed as training does it: `flat:`, `csv:` and `tfds:`."""
    dataset = open_dataset(config)
    splits = tuple(dataset.splits.values())
    sizes = [len(split) for split in splits]
    readers, ends = [_reader(split.images) for split in splits], np.cumsum(sizes)

    def read(index: int) -> bytes:
        number = int(np.searchsorted(ends, index, side="right"))
        return readers[number](index - int(ends[number]) + sizes[number])

    return Listing(
        dataset.name,
        dataset.classes,
        tuple(dataset.splits),
        Names.of(id_ for split in splits for id_ in split.ids),
        np.repeat(np.arange(len(splits), dtype=np.int8), sizes),
        np.concatenate([split.labels for split in splits]),
        read,
        dataset.folder,
        config.background,
        tuple(_passed_by(dataset, config.dataset.startswith("flat:"))),
    )


def _passed_by(dataset: Dataset, is_flat: bool) -> Iterator[Finding]:
    if is_flat and dataset.folder is not None:
        return passed_by_flat(dataset.folder)
    return passed_by_table(dataset.left_out)


def _reader(images: Images) -> Callable[[int], bytes]:
    """What gives the bytes of the i-th image."""
    if isinstance(images, FileImages):
        return lambda index: read_file(os.path.join(images.folder, images.paths[index]))
    if isinstance(images, EncodedImages):
        return lambda index: images.read(int(images.indices[index]))
    raise ConfigError("check_data looks at image files: give folder:DIR, flat:DIR, csv:FILE, tfds:NAME, or a folder")


def _list_folder(config: DataConfig, folder: Path) -> Listing:
    if not is_folder(folder):
        raise DataError(f"there is no folder {folder}")
    roots = _roots(folder)
    splits = tuple(dict.fromkeys(split for split, _ in roots))
    found = sorted({path.name for _, root in roots for path in subfolders(root)})
    classes = in_order(found, config.class_order) if config.classes is None else config.classes
    files = [
        (splits.index(split), label, [below(folder, path) for path in image_files(root / class_name, on_error=_later)])
        for split, root in roots
        for label, class_name in enumerate(classes)
    ]
    ids, sizes = Names.of(id_ for _, _, here in files for id_ in here), [len(here) for _, _, here in files]
    listing = Listing(
        config.dataset,
        classes,
        splits,
        ids,
        np.repeat(np.asarray([split for split, _, _ in files], np.int8), sizes),
        np.repeat(np.asarray([label for _, label, _ in files], np.int32), sizes),
        lambda index: read_file(os.path.join(folder, ids[index])),
        folder,
        config.background,
        (*_class_findings(config, folder, roots, classes), *passed_by(folder, [root for _, root in roots], classes)),
    )
    return listing if config.exclude is None else _leave_out(listing, config.exclude)


def _later(_: OSError) -> None:
    """`passed_by` names each folder that cannot be read."""


def _roots(folder: Path) -> list[tuple[str, Path]]:
    """Split and folder with the class folders; two folders of one split are both taken, as training would refuse."""
    found = split_folders(folder)
    roots = [(split, root) for split, folders in found.items() for root in folders]
    with_classes = [(split, root) for split, root in roots if split != "test" or subfolders(root)]
    return with_classes or [(UNSPLIT, folder)]


def _leave_out(listing: Listing, exclude: str) -> Listing:
    named = read_names(as_path(exclude), listing.folder)
    kept = np.asarray([i for i, id_ in enumerate(listing.ids) if id_ not in named], np.int64)
    return replace(
        listing,
        ids=listing.ids.take(kept),
        split_of=listing.split_of[kept],
        label_of=listing.label_of[kept],
        read=lambda index: listing.read(int(kept[index])),
    )


def _class_findings(
    config: DataConfig, folder: Path, roots: list[tuple[str, Path]], classes: tuple[str, ...]
) -> list[Finding]:
    """Classes without images; where training has all, what else it has against the folders, if anything."""
    found = []
    for split, root in roots:
        for class_name in classes:
            there = (root / class_name).is_dir()
            if there and image_files(root / class_name, on_error=_later):
                continue
            if split not in TRAINED_ON:
                found.append(Finding("unmeasured_class", (class_name,), f"no images in {split}"))
            elif there:
                found.append(Finding("empty_class", (below(folder, root / class_name),)))
            else:
                found.append(Finding("missing_class", (class_name,), f"not in {split}"))
    if any(finding.kind != "unmeasured_class" for finding in found):
        return found
    try:
        open_dataset(config)
    except DataError as error:
        found.append(Finding("refused", (), str(error)))
    return found
