"""Folders of image files: a folder for each class."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from cnn_jax.config import DataConfig
from cnn_jax.data.pillow import SUFFIXES
from cnn_jax.data.sources import left_out
from cnn_jax.data.sources.dataset import UNSPLIT, Dataset, Split, unmeasured
from cnn_jax.data.sources.images import FileImages
from cnn_jax.data.sources.names import Names
from cnn_jax.errors import DataError, RemoteError
from cnn_jax.io.files import Entry, entries

IMAGE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"""Of the files that are taken for images; what they are is told by their content."""

Passed = Callable[[Entry, str], None]
"""Told of a file or folder that is passed by, and of what kind it is (see `left_out`)."""

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""Names of folders, in any case, that hold a split."""


def open_folder(config: DataConfig, folder: Path) -> Dataset:
    """`DIR/<class>/*`, or the same below `DIR/train`, `DIR/validation` and `DIR/test` (see `SPLIT_FOLDERS`).

    Where all of `config.classes` are there, the other folders are left alone: they may be empty.

    Raises:
        DataError: the folder is missing or cannot be read, has fewer than two classes or an empty one; or a split has a
            class that training lacks, or no images.
    """
    check_exists(config, folder)
    found = split_folders(folder)
    if not found:
        return _scan_splits(config, folder, {UNSPLIT: folder})
    for split, folders in found.items():
        if len(folders) > 1:
            names = ", ".join(f.name for f in folders)
            raise DataError(f"{folder} has more than one {split} folder ({names}): keep one")
    splits, notes = {split: folders[0] for split, folders in found.items() if folders}, []
    if "test" in splits and not subfolders(splits["test"]):
        notes.append(f"{splits.pop('test')} has no class folders: it is left out")
    return _scan_splits(config, folder, splits, notes)


def split_folders(folder: Path) -> dict[str, list[Path]]:
    """The folders of each split, none or more of them; an empty dictionary where the folder comes in one piece."""
    here = subfolders(folder)
    found = {split: [p for p in here if p.name.lower() in names] for split, names in SPLIT_FOLDERS.items()}
    others = [p for p in here if not any(p in folders for folders in found.values())]
    return {} if not found["train"] or _is_a_class(found["train"], others) else found


def check_exists(config: DataConfig, folder: Path) -> None:
    """Raise DataError for a folder that is not there."""
    if not is_folder(folder):
        raise DataError(f"data.dataset={config.dataset}: there is no folder {folder}")


def is_folder(folder: Path) -> bool:
    """Whether it is there; DataError where that cannot be known."""
    try:
        return folder.is_dir()
    except OSError as error:
        refuse_unlisted(error)


def subfolders(folder: Path) -> list[Path]:
    """In the order of their characters, as in Keras, without hidden ones."""
    try:
        return [folder / entry.name for entry in entries(folder) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        refuse_unlisted(error)


def _is_a_class(train: list[Path], others: list[Path]) -> bool:
    """Whether "train" is what is on the pictures: it holds no folders, and stands beside folders of other names."""
    return bool(others) and not any(subfolders(folder) for folder in train)


def _scan_splits(config: DataConfig, root: Path, folders: dict[str, Path], notes: Sequence[str] = ()) -> Dataset:
    """Read the class folders of each split. Those of the first, which is trained on, are the classes.

    Another split may have fewer, and a note says which it lacks; it may not have others.
    """
    first, *others = folders.values()
    wanted = config.classes
    classes = _classes_in(first, wanted)
    for folder in others:
        unknown = [p.name for p in subfolders(folder) if p.name not in classes]
        if unknown and (wanted is None or not set(wanted) <= set(classes)):
            raise DataError(
                f"{folder} has classes that {first} lacks: {', '.join(unknown)}. Rename their folders, move images of "
                "them to training, or name the classes to use with --data.classes"
            )
    splits, notes = {}, list(notes)
    outside = _outside(root, list(folders.values()))
    for split, folder in folders.items():
        splits[split], empty = _scan_classes(config, root, folder, classes, outside)
        if empty and folder is first:
            raise _without_images(folder / empty[0], "fill it, remove it, or leave the class out with --data.classes")
        if not len(splits[split]):
            raise _without_images(folder, "fill it or remove it")
        if empty:
            notes.append(unmeasured(f"{folder} has", empty))
    return Dataset(config.dataset, classes, splits, root, (*notes, *left_out.lines(outside)), outside)


def _outside(root: Path, folders: Sequence[Path]) -> dict[str, str]:
    """Pictures beside the class folders, and folders beside those of the splits, by their path below the root."""
    found, of_splits = {}, {name for names in SPLIT_FOLDERS.values() for name in names}
    for place in dict.fromkeys([root, *folders]):
        for entry in entries(place):
            if entry.is_dir() and place not in folders and entry.name.lower() not in of_splits:
                found[below(root, entry.path)] = left_out.kind_of_folder(entry) or left_out.FOLDER
            elif is_image_name(entry.name) and not entry.is_dir():
                found[below(root, entry.path)] = left_out.OUTSIDE
    return found


def _without_images(folder: Path, fix: str) -> DataError:
    return DataError(f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)}): {fix}")


def _classes_in(folder: Path, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes that the folder has folders for; only the wanted ones, where it has all of them."""
    here = tuple(p.name for p in subfolders(folder))
    if wanted is not None and set(wanted) <= set(here):
        return tuple(sorted(wanted))
    if len(here) < 2:
        raise DataError(
            f"{folder} needs a folder for each class, at least two, with the images inside; "
            f"it has {'none' if not here else repr(here[0])}{_hint(folder, here)}"
        )
    return here


def _hint(folder: Path, here: tuple[str, ...]) -> str:
    """Archives often hold one folder with everything inside; names of files may tell the class."""
    if here and len(subfolders(folder / here[0])) > 1:
        return f". Did you mean folder:{folder / here[0]}?"
    if not here and image_files(folder):
        return ". If the names of the files begin with the class, say flat: in the place of folder:"
    return ""


def _scan_classes(
    config: DataConfig, root: Path, folder: Path, classes: tuple[str, ...], outside: dict[str, str]
) -> tuple[Split, list[str]]:
    """The images below the class folders of a split, and the classes without any; `outside` gets what is no image."""
    counts: list[int] = []
    skipped = len(os.path.join(root, ""))

    def names() -> Iterator[str]:
        for class_name in classes:
            images = image_files(
                folder / class_name, passed=lambda entry, kind: outside.update({below(root, entry.path): kind})
            )
            counts.append(len(images))
            for path in images:
                yield path[skipped:].replace(os.sep, "/")

    ids = Names.of(names())
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    empty = [class_name for class_name, count in zip(classes, counts, strict=True) if not count]
    return Split(ids, labels, FileImages(ids, str(root), config.background)), empty


def below(folder: Path, path: str | Path) -> str:
    """The path relative to the folder, with slashes."""
    return os.path.relpath(path, folder).replace(os.sep, "/")


def image_files(
    folder: Path | str, *, on_error: Callable[[OSError], None] | None = None, passed: Passed | None = None
) -> list[str]:
    """Image files at any depth, sorted by path; none of a folder that is not there. Hidden ones are skipped.

    Args:
        on_error: where given, it is told of each folder that cannot be read, and what has the name of an image may be a
            pipe, socket or device (reading one never ends). By default both are errors.
        passed: told of each file that is no image, and of each folder that is not looked into.

    Raises:
        DataError: one of both.
    """
    found, folders = [], [str(folder)]
    pass_by = passed or (lambda entry, kind: None)
    while folders:
        try:
            for entry in entries(folders.pop()):
                if entry.is_dir():
                    if kind := left_out.kind_of_folder(entry):
                        pass_by(entry, kind)
                    else:
                        folders.append(entry.path)
                elif is_image_name(entry.name):
                    if on_error is None:
                        require_file(entry.path, entry.is_file())
                    found.append(entry.path)
                else:
                    pass_by(entry, left_out.kind_of_file(entry.name))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            (on_error or refuse_unlisted)(error)
    return sorted(found)


def refuse_unlisted(error: OSError) -> NoReturn:
    """Raise DataError for a folder that cannot be read: what it holds would be missing without a word."""
    if isinstance(error, RemoteError):  # it says what to do
        raise error
    raise DataError(
        f"{error.filename} cannot be read: {error.strerror}. Its images would be missing: mend it, or move it away"
    ) from error


def require_file(path: str, is_file: bool) -> None:
    """Raise DataError for what is there and, as `is_file` says, no file. What is gone is found out by reading it."""
    if not is_file and os.path.exists(path):
        raise DataError(f"{path} is a pipe, socket or device and no image file: remove it")


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)
