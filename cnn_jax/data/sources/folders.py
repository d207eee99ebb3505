"""Folders of image files: a folder for each class, or the class in the name of each file."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from cnn_jax.data.sources.dataset import UNSPLIT, Dataset, Split, unmeasured
from cnn_jax.data.sources.images import FileImages
from cnn_jax.data.sources.names import Names
from cnn_jax.errors import DataError, RemoteError
from cnn_jax.files import entries

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
"""Those of Keras' `image_dataset_from_directory`."""

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""Names of folders, in any case, that hold a split."""


def open_folder(name: str, folder: Path, wanted: tuple[str, ...] | None) -> Dataset:
    """`DIR/<class>/*`, or the same below `DIR/train`, `DIR/validation` and `DIR/test` (see `SPLIT_FOLDERS`).

    Args:
        wanted: where all of these classes are there, the other folders are left alone: they may be empty.

    Raises:
        DataError: the folder is missing or cannot be read, has fewer than two classes or an empty one; or a split has a
            class that training lacks, or no images.
    """
    _check_exists(name, folder)
    found = split_folders(folder)
    if not found:
        return _scan_splits(name, folder, {UNSPLIT: folder}, wanted)
    for split, folders in found.items():
        if len(folders) > 1:
            names = ", ".join(f.name for f in folders)
            raise DataError(f"{folder} has more than one {split} folder ({names}): keep one")
    splits, notes = {split: folders[0] for split, folders in found.items() if folders}, []
    if "test" in splits and not subfolders(splits["test"]):
        notes.append(f"{splits.pop('test')} has no class folders: it is left out")
    return _scan_splits(name, folder, splits, wanted, notes)


def split_folders(folder: Path) -> dict[str, list[Path]]:
    """The folders of each split, none or more of them; an empty dictionary where the folder comes in one piece."""
    here = subfolders(folder)
    found = {split: [p for p in here if p.name.lower() in names] for split, names in SPLIT_FOLDERS.items()}
    others = [p for p in here if not any(p in folders for folders in found.values())]
    return {} if not found["train"] or _is_a_class(found["train"], others) else found


def _check_exists(name: str, folder: Path) -> None:
    if not is_folder(folder):
        raise DataError(f"data.dataset={name}: there is no folder {folder}")


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


def _scan_splits(
    name: str, root: Path, folders: dict[str, Path], wanted: tuple[str, ...] | None, notes: Sequence[str] = ()
) -> Dataset:
    """Read the class folders of each split. Those of the first, which is trained on, are the classes.

    Another split may have fewer, and a note says which it lacks; it may not have others.
    """
    first, *others = folders.values()
    classes = _classes_in(first, wanted)
    for folder in others:
        unknown = [p.name for p in subfolders(folder) if p.name not in classes]
        if unknown and (wanted is None or not set(wanted) <= set(classes)):
            raise DataError(
                f"{folder} has classes that {first} lacks: {', '.join(unknown)}. Rename their folders, move images of "
                "them to training, or name the classes to use with --data.classes"
            )
    splits, notes = {}, list(notes)
    for split, folder in folders.items():
        splits[split], empty = _scan_classes(root, folder, classes)
        if empty and folder is first:
            raise _without_images(folder / empty[0], "fill it, remove it, or leave the class out with --data.classes")
        if not len(splits[split]):
            raise _without_images(folder, "fill it or remove it")
        if empty:
            notes.append(unmeasured(f"{folder} has", empty))
    return Dataset(name, classes, splits, root, tuple(notes))


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


def _scan_classes(root: Path, folder: Path, classes: tuple[str, ...]) -> tuple[Split, list[str]]:
    """The images below the class folders of a split, and the classes without any."""
    counts: list[int] = []
    skipped = len(os.path.join(root, ""))

    def names() -> Iterator[str]:
        for class_name in classes:
            images = image_files(folder / class_name)
            counts.append(len(images))
            for path in images:
                yield path[skipped:].replace(os.sep, "/")

    ids = Names.of(names())
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    empty = [class_name for class_name, count in zip(classes, counts, strict=True) if not count]
    return Split(ids, labels, FileImages(ids, str(root))), empty


def image_files(folder: Path | str, *, on_error: Callable[[OSError], None] | None = None) -> list[str]:
    """Image files at any depth, sorted by path; none of a folder that is not there. Hidden ones are skipped.

    Args:
        on_error: where given, it is told of each folder that cannot be read, and what has the name of an image may be a
            pipe, socket or device (reading one never ends). By default both are errors.

    Raises:
        DataError: one of both.
    """
    found, folders = [], [str(folder)]
    while folders:
        try:
            for entry in entries(folders.pop()):
                if entry.is_dir():
                    if not entry.name.startswith(".") and not entry.is_symlink():
                        folders.append(entry.path)
                elif is_image_name(entry.name):
                    if on_error is None:
                        require_file(entry.path, entry.is_file())
                    found.append(entry.path)
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


def open_flat(name: str, folder: Path, separator: str, at: Literal["first", "last"] = "first") -> Dataset:
    """Files of one folder whose class is the text before a separator in their name: Kaggle's `cat.0.jpg`.

    Args:
        at: which separator that is, where a name has several.

    Raises:
        DataError: the folder is missing or has no images, a name has no class, or there is only one class.
    """
    _check_exists(name, folder)
    files = _flat_files(folder)
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
    if len(classes) < 2:
        before = f"before the {at} {separator!r}"
        raise DataError(f"{folder} needs images of two classes; {before}, all names say {classes[0]!r}. {note}".strip())
    label = {class_name: i for i, class_name in enumerate(classes)}
    ids = Names.of(files)
    labels = np.asarray([label[class_name] for class_name in of], np.int32)
    split = Split(ids, labels, FileImages(ids, str(folder)))
    return Dataset(name, classes, {UNSPLIT: split}, folder, (note,) if note else ())


def _at_the_last(files: Sequence[str], separator: str, classes: int) -> str:
    """What to say where names have several separators, and the last gives more classes, with two images each or more.

    Where it gives more than that, what follows the first is no part of a class: `cat.0.mirrored.jpg`.
    """
    others = len({_class_of(file, separator, "last") for file in files})
    if not classes < others <= len(files) / 2:
        return ""
    return f"Classes end at the first {separator!r}; at the last, there are {others}: --data.separator_at=last"


def _flat_files(folder: Path) -> list[str]:
    """The names of the image files in the folder itself."""
    try:
        found = [entry for entry in entries(folder) if is_image_name(entry.name) and not entry.is_dir()]
        for entry in found:
            require_file(entry.path, entry.is_file())
    except OSError as error:
        refuse_unlisted(error)
    return [entry.name for entry in found]


def _class_of(file: str, separator: str, at: Literal["first", "last"]) -> str:
    """Empty where the name, without its suffix, has no separator."""
    stem = os.path.splitext(file)[0]
    class_name, found, _ = stem.partition(separator) if at == "first" else stem.rpartition(separator)
    return class_name if found else ""
