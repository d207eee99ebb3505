"""A table of images and their labels: `csv:FILE`, as Kaggle and laboratories hand them out."""

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cnn_jax.config import DataConfig
from cnn_jax.data.sources import left_out
from cnn_jax.data.sources.csv_columns import Columns, find_columns
from cnn_jax.data.sources.csv_file import Table, read_table
from cnn_jax.data.sources.dataset import UNSPLIT, Dataset, Split, unmeasured
from cnn_jax.data.sources.folders import IMAGE_SUFFIXES, SPLIT_FOLDERS, image_files, refuse_unlisted
from cnn_jax.data.sources.images import FileImages
from cnn_jax.data.sources.names import Names
from cnn_jax.errors import DataError
from cnn_jax.io.escaping import printable
from cnn_jax.io.files import as_path, entries
from cnn_jax.io.writing import is_remote

NO_FILE, NO_LABEL, NO_SPLIT, AGAIN, SEVERAL = "no such file", "no label", "no split", "named again", "several files"
"""Why a row is not used."""
NO_ROW = "no row"
"""The kind of an image that lies beside those of the table, which does not name it."""

ONE_CLASS = "an image has one class here: several labels an image are not supported"


@dataclass
class _Examples:
    """What the rows give."""

    labels: dict[str, str] = field(default_factory=dict)
    """By id."""
    splits: dict[str, str] = field(default_factory=dict)
    """By id."""
    lines: dict[str, int] = field(default_factory=dict)
    """By id."""
    named: set[str] = field(default_factory=set)
    """The files of all rows, used or not."""
    unused: dict[str, str] = field(default_factory=dict)
    """Rows, by their line and text, and why."""


def open_csv(config: DataConfig, path: Path) -> Dataset:
    """The images that the rows of a CSV file name, with the classes that these say.

    Paths are relative to the file's folder or `config.csv.root`; a name without suffix is that of the image file which
    has one. Rows that cannot be used are named in the notes and in `left_out`.

    Raises:
        DataError: the file cannot be read, it is not known which columns count, no row can be used, there is only one
            class, or an image has several.
    """
    table = read_table(path, config.csv.delimiter)
    root = path.parent if config.csv.root is None else as_path(config.csv.root)
    columns = find_columns(table, config.csv)
    files = _Files(root)
    found = _examples(table, columns, files)
    if not found.labels:
        raise DataError(_nothing(path, root, table, columns, found.unused))
    classes = tuple(sorted(set(found.labels.values())))
    if len(classes) < 2:
        raise DataError(f"{path} needs rows of two classes; the column {columns.label_name} says {classes[0]!r} alone")
    if config.classes is None:
        _refuse_several(path, found, set(classes))
    splits = _splits(config, root, found, classes)
    without_row = dict.fromkeys(files.others(found.named), NO_ROW)
    notes = [
        printable(f"{table.name}: images from the column {columns.path_name}, classes from {columns.label_name}")
        + (f", splits from {printable(columns.split_name)}" if columns.split is not None else ""),
        *filter(None, [table.note]),
        *_lines(table.name, len(table.rows), found.unused, len(without_row)),
        *_unmeasured(path, splits, classes),
        *_alike(classes),
    ]
    return Dataset(config.dataset, classes, splits, root, tuple(notes), {**found.unused, **without_row})


class _Files:
    """The files below a folder, each folder listed once: a hundred thousand questions for single files take longer."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._listed: dict[str, tuple[set[str], dict[str, list[str]]]] = {}
        """Of a folder the names of files, and those of images by what is before their suffix."""

    def find(self, text: str) -> tuple[str, str]:
        """The path below the root of the file that the text names, and, where it names none, why."""
        for name in dict.fromkeys((text, text.replace("\\", "/"))):
            if is_remote(name):
                name = name.removeprefix(f"{self._root.rstrip('/')}/")
            elif os.path.isabs(name):
                name = os.path.relpath(name, self._root)
            folder, base = posixpath.split(posixpath.normpath(name)) if "/" in name else ("", name)
            files, by_stem = self._list(folder)
            if base in files:
                kind = left_out.kind_of_file(base)
                is_image = base.lower().endswith(IMAGE_SUFFIXES) or kind == left_out.NO_SUFFIX
                return (posixpath.join(folder, base), "") if is_image else ("", kind)
            images = by_stem.get(base, [])
            if images:
                return (posixpath.join(folder, images[0]), "") if len(images) == 1 else ("", SEVERAL)
        return "", NO_FILE

    def others(self, named: Collection[str]) -> Iterator[str]:
        """The images in the folders that were asked for which are not among these."""
        for folder, (_, by_stem) in self._listed.items():
            for names in by_stem.values():
                yield from (id_ for name in names if (id_ := posixpath.join(folder, name)) not in named)

    def _list(self, folder: str) -> tuple[set[str], dict[str, list[str]]]:
        if folder not in self._listed:
            files, by_stem = set[str](), dict[str, list[str]]()
            try:
                for entry in entries(os.path.join(self._root, folder)):
                    if entry.is_file():  # reading a pipe or a device never ends
                        files.add(entry.name)
                        stem, suffix = os.path.splitext(entry.name)
                        if suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith("."):
                            by_stem.setdefault(stem, []).append(entry.name)
            except (FileNotFoundError, NotADirectoryError):
                pass
            except (OSError, ValueError) as error:  # a zero in the path is a ValueError
                if isinstance(error, OSError):
                    refuse_unlisted(error)
            self._listed[folder] = files, by_stem
        return self._listed[folder]


def _examples(table: Table, columns: Columns, files: _Files) -> _Examples:
    """The images that the rows name, in their order."""
    found = _Examples()
    for line, row in zip(table.lines, table.rows, strict=True):
        text, label = row[columns.path], row[columns.label]
        split = UNSPLIT if columns.split is None else row[columns.split]
        id_, why = files.find(text) if text else ("", NO_FILE)
        found.named.add(id_)
        why = why or (NO_LABEL if not label else NO_SPLIT if not split else "")
        if not why and id_ in found.labels:
            if (found.labels[id_], found.splits[id_]) != (label, split):
                raise DataError(
                    f"{table.name}, lines {found.lines[id_]} and {line}: {printable(text)} is "
                    f"{_said(found.labels[id_], found.splits[id_])}, and {_said(label, split)}; {ONE_CLASS}. Remove "
                    "one of the rows"
                )
            why = AGAIN
        if why:
            found.unused[f"{table.name}, line {line}: {text}"] = why
            continue
        found.labels[id_], found.splits[id_], found.lines[id_] = label, split, line
    return found


def _said(label: str, split: str) -> str:
    """What a row says of its image."""
    return repr(label) if split == UNSPLIT else f"{label!r} in {split!r}"


def _splits(config: DataConfig, root: Path, found: _Examples, classes: tuple[str, ...]) -> dict[str, Split]:
    """The examples by split, training first."""
    of = {name: split for split, names in SPLIT_FOLDERS.items() for name in names} | {UNSPLIT: UNSPLIT}
    number = {name: label for label, name in enumerate(classes)}
    ids, splits = list(found.labels), {}
    for split in (UNSPLIT, *SPLIT_FOLDERS):
        here = [id_ for id_ in ids if of[found.splits[id_].lower()] == split]
        if here:
            names = Names.of(here)
            labels = np.asarray([number[found.labels[id_]] for id_ in here], np.int32)
            splits[split] = Split(names, labels, FileImages(names, str(root), config.background))
    trained = splits.get(UNSPLIT) or splits.get("train")
    if trained is not None:
        lacking = np.setdiff1d(np.arange(len(classes)), trained.labels)
        if len(lacking) and config.classes is None:
            missing = ", ".join(classes[i] for i in lacking[:10])
            raise DataError(
                f"{config.dataset}: the rows of train have none of {missing}, which another split has. Move rows, or "
                "name the classes to use with --data.classes"
            )
    return splits


def _unmeasured(path: Path, splits: Mapping[str, Split], classes: Sequence[str]) -> Iterator[str]:
    for name, split in splits.items():
        lacking = np.setdiff1d(np.arange(len(classes)), split.labels)
        if len(lacking) and name not in (UNSPLIT, "train"):
            yield unmeasured(f"{name} of {path.name} has", [classes[i] for i in lacking])


def _lines(name: str, rows: int, unused: Mapping[str, str], without_row: int) -> Iterator[str]:
    """What is left out, in words."""
    if unused:
        first, kinds = printable(next(iter(unused)).removeprefix(f"{name}, ")), left_out.summary(unused)
        yield f"{len(unused):,} of {rows:,} rows of {name} are left out: {kinds}; the first is {first}"
    if without_row:
        images = "1 image has" if without_row == 1 else f"{without_row:,} images have"
        yield f"{images} no row in {name}, beside others that have one: left out"


def _alike(classes: Iterable[str]) -> Iterator[str]:
    """The line that names classes which are probably one."""
    by_name: dict[str, list[str]] = {}
    for name in classes:
        by_name.setdefault(" ".join(name.casefold().split()), []).append(name)
    twice = [printable(" and ".join(names)) for names in by_name.values() if len(names) > 1]
    if twice:
        yield f"classes that differ in case or spaces alone: {', '.join(twice[:5])}"


def _refuse_several(path: Path, found: _Examples, classes: set[str]) -> None:
    """Raise DataError where a class is made of others: `scab rust`, beside `scab` and `rust`."""
    for name in sorted(classes):
        parts = [part for part in re.split(r"[|;,+/\s]+", name) if part]
        if len(parts) > 1 and classes.issuperset(parts):
            line = next(found.lines[id_] for id_, label in found.labels.items() if label == name)
            raise DataError(
                f"{path}, line {line}: {name!r} is several of the classes; {ONE_CLASS}. Name the classes to use with "
                f"--data.classes, {name!r} among them if it is to be one of its own"
            )


def _nothing(path: Path, root: Path, table: Table, columns: Columns, unused: Mapping[str, str]) -> str:
    """Why no row can be used, and what helps."""
    if not table.rows:
        return f"{path} has no rows below its header"
    start = f"{path}: no row can be used ({left_out.summary(unused)})"
    wanted = printable(next((row[columns.path] for row in table.rows if row[columns.path]), ""))
    if NO_FILE not in unused.values():
        return f"{start}; the column {columns.label_name} has the classes"
    base = posixpath.basename(wanted.replace("\\", "/"))
    for found in image_files(path.parent, on_error=lambda _: None):
        folder, name = os.path.split(found)
        if base in (name, os.path.splitext(name)[0]):
            return f"{start}; the first, {wanted}, lies in another folder: say --data.csv.root={folder}"
    return f"{start}; the first is {wanted}, looked for below {root}. Say where the images are with --data.csv.root"
