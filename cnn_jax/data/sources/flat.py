"""One folder of image files, with the class in the name of each file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from cnn_jax.config import DataConfig
from cnn_jax.data.sources import left_out
from cnn_jax.data.sources.dataset import UNSPLIT, Dataset, Split
from cnn_jax.data.sources.folders import IMAGE_SUFFIXES, check_exists, is_image_name, refuse_unlisted, require_file
from cnn_jax.data.sources.images import FileImages
from cnn_jax.data.sources.names import Names
from cnn_jax.errors import DataError
from cnn_jax.io.files import entries


def open_flat(config: DataConfig, folder: Path) -> Dataset:
    """Files of one folder whose class is the text before a separator in their name: Kaggle's `cat.0.jpg`.

    `config.separator_at` says which separator that is, where a name has several.

    Raises:
        DataError: the folder is missing or has no images, a name has no class, or there is only one class.
    """
    check_exists(config, folder)
    separator, at = config.separator, config.separator_at
    files, others = _files(folder)
    if not files:
        raise DataError(f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)}); flat: does not look into its folders")
    of = [_class_of(file, separator, at) for file in files]
    nameless = [file for file, class_name in zip(files, of, strict=True) if not class_name]
    if nameless:
        raise DataError(
            f"{folder}: {len(nameless)} names have no class before a {separator!r}, the first is {nameless[0]}: "
            "rename or remove them, or say what ends the class with --data.separator"
        )
    classes = tuple(sorted(set(of)))
    note = _at_the_last(files, separator, len(classes)) if at == "first" else ""
    notes = (*((note,) if note else ()), *left_out.lines(others))
    if len(classes) < 2:
        before = f"before the {at} {separator!r}"
        raise DataError(f"{folder} needs images of two classes; {before}, all names say {classes[0]!r}. {note}".strip())
    label = {class_name: i for i, class_name in enumerate(classes)}
    ids = Names.of(files)
    labels = np.asarray([label[class_name] for class_name in of], np.int32)
    split = Split(ids, labels, FileImages(ids, str(folder), config.background))
    return Dataset(config.dataset, classes, {UNSPLIT: split}, folder, notes, others)


def _at_the_last(files: Sequence[str], separator: str, classes: int) -> str:
    """What to say where names have several separators, and the last gives more classes, with two images each or more.

    Where it gives more than that, what follows the first is no part of a class: `cat.0.mirrored.jpg`.
    """
    others = len({_class_of(file, separator, "last") for file in files})
    if not classes < others <= len(files) / 2:
        return ""
    return f"Classes end at the first {separator!r}; at the last, there are {others}: --data.separator_at=last"


def _files(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The names of the image files in the folder itself, and of what kind the rest is."""
    files, others = [], dict[str, str]()
    try:
        for entry in entries(folder):
            if entry.is_dir():
                others[entry.name] = left_out.kind_of_folder(entry) or left_out.FOLDER
            elif is_image_name(entry.name):
                require_file(entry.path, entry.is_file())
                files.append(entry.name)
            else:
                others[entry.name] = left_out.kind_of_file(entry.name)
    except OSError as error:
        refuse_unlisted(error)
    return files, others


def _class_of(file: str, separator: str, at: Literal["first", "last"]) -> str:
    """Empty where the name, without its suffix, has no separator."""
    stem = os.path.splitext(file)[0]
    class_name, found, _ = stem.partition(separator) if at == "first" else stem.rpartition(separator)
    return class_name if found else ""
