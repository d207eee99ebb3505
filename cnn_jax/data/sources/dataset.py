"""Labelled examples in a fixed order, and what can be done to them without looking at an image."""

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int32, Int64

from cnn_jax.data.sources.images import Images
from cnn_jax.data.sources.names import Names
from cnn_jax.errors import ConfigError, DataError
from cnn_jax.io.writing import is_remote

UNSPLIT = "all"
"""The name of the one split of a data set that does not come split."""


TRAINED_ON = ("train", UNSPLIT)
"""Splits that need images of every class; the others are measured on, and say what they lack."""

NAMED_CLASSES = 10
"""Classes that a line names one by one."""


@dataclass(frozen=True)
class Split:
    """Labelled examples in a fixed order."""

    ids: Sequence[str]
    """Names that stay the same from run to run: paths below the data set's folder, or numbers."""
    labels: Int32[np.ndarray, " n"]
    images: Images

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int] | Int64[np.ndarray, " m"]) -> "Split":
        """Only these examples, in this order."""
        chosen = np.asarray(indices, np.int64)
        ids = self.ids.take(chosen) if isinstance(self.ids, Names) else tuple(self.ids[i] for i in chosen)
        return Split(ids, self.labels[chosen], self.images.take(chosen))


@dataclass(frozen=True)
class Dataset:
    """Class names in the order of the labels, and splits by name: train, validation and test, or `UNSPLIT` alone."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    folder: Path | None = None
    """What the ids are paths below, where they are paths."""
    notes: tuple[str, ...] = ()
    """What was found and left out, a line each."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Files and folders that are no examples, by path below the folder, and of what kind they are (see `left_out`)."""


def unmeasured(where: str, classes: Sequence[str]) -> str:
    """The line that says that a split for measuring has no images of these classes."""
    names = ", ".join(classes[:NAMED_CLASSES])
    more = f" and {len(classes) - NAMED_CLASSES} more" if len(classes) > NAMED_CLASSES else ""
    return f"{where} no images of {names}{more}: nothing is measured for {'it' if len(classes) == 1 else 'them'} there"


def in_order(classes: Sequence[str], order: Literal["characters", "natural"]) -> tuple[str, ...]:
    """The classes by their characters, or with the numbers in their names counted: 2 before 10."""
    if order == "characters":
        return tuple(sorted(classes))

    def parts(name: str) -> tuple[list[str | int], str]:
        every_second = enumerate(re.split(r"([0-9]+)", name))  # is a number
        return [int(part) if i % 2 else part for i, part in every_second], name

    return tuple(sorted(classes, key=parts))


def about_numbers(classes: tuple[str, ...]) -> str:
    """The line that says in which order classes are whose names are numbers; empty where there is nothing to say."""
    counted = in_order(classes, "natural")
    if classes != in_order(classes, "characters") or classes == counted or not all(map(str.isdecimal, classes)):
        return ""
    shown = ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")
    return f"classes are in Keras' order ({shown}); --data.class_order=natural counts"


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
    return replace(dataset, classes=classes, splits=splits)


def leave_out(dataset: Dataset, path: Path) -> Dataset:
    """The data set without the examples that the text file `path` names, one a line, by id or absolute path.

    Raises:
        DataError: the file cannot be read, a line names nothing, a class is left without images to train on, or a split
            without any.
    """
    named = read_names(path, dataset.folder)
    found: set[str] = set()
    splits, notes = {}, list(dataset.notes)
    for name, split in dataset.splits.items():
        here = [i for i, id_ in enumerate(split.ids) if id_ in named]
        found.update(split.ids[i] for i in here)
        kept = split.take(np.setdiff1d(np.arange(len(split)), here)) if here else split
        emptied = [dataset.classes[label] for label in np.setdiff1d(split.labels[here], kept.labels)]
        if emptied and (name in TRAINED_ON or not len(kept)):
            raise DataError(f"data.exclude={path} leaves no image of class {emptied[0]!r} in {name}")
        if emptied:
            notes.append(unmeasured(f"data.exclude={path} leaves {name}", emptied))
        splits[name] = kept
    for id_, line in named.items():
        unused = dataset.folder is not None and (dataset.folder / id_).is_file()  # of a class that data.classes lacks
        if id_ not in found and not unused:
            raise DataError(f"{path}, line {line}: {dataset.name} has no image {id_!r}: mend or remove the line")
    return replace(dataset, splits=splits, notes=tuple(notes))


def read_names(path: Path, folder: Path | None) -> dict[str, int]:
    """The ids that the lines of a file name, with the number of the line; empty lines say nothing."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"data.exclude={path} cannot be read: {error.strerror}") from error
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
    if folder is None:
        return {line: number for number, line in lines if line}
    return {_below(folder, line): number for number, line in lines if line}


def _below(folder: Path, name: str) -> str:
    """A path relative to the folder, with slashes."""
    if is_remote(folder):
        return posixpath.normpath(name.removeprefix(f"{folder}/"))
    return Path(os.path.relpath(os.path.join(os.path.abspath(folder), name), os.path.abspath(folder))).as_posix()
