"""Which example is in which split: drawn once by seed, written to split.json, read back when a run goes on."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from cnn_jax.data.sources import UNSPLIT, Dataset, Split
from cnn_jax.errors import DataError
from cnn_jax.io.files import parse_json, read_text
from cnn_jax.io.writing import write_atomically

Shares = tuple[float, float, float]
NAMES = ("train", "validation", "test")


def partition(dataset: Dataset, shares: Shares, seed: int) -> Dataset:
    """Give the data set a train and a validation split where it lacks them.

    A data set that comes in one piece is divided by `shares` (train, validation, test), class by class, so that every
    split has each class in the same proportion. One with train and no validation images has its train split divided
    by the first two shares.

    Raises:
        DataError: a split of the wanted shares would have no example of some class.
    """
    if UNSPLIT in dataset.splits:
        whole, wanted = dataset.splits[UNSPLIT], shares
    elif "train" in dataset.splits and "validation" not in dataset.splits and shares[1] > 0:
        whole, wanted = dataset.splits["train"], (shares[0], shares[1], 0.0)
    else:
        return dataset
    divided = {name: whole.take(part) for name, part in _divide(whole, dataset, wanted, seed).items()}
    others = {name: split for name, split in dataset.splits.items() if name not in (UNSPLIT, "train")}
    return replace(dataset, splits={**divided, **others})


def _divide(whole: Split, dataset: Dataset, shares: Shares, seed: int) -> dict[str, Int64[np.ndarray, " n"]]:
    chosen: dict[str, list[Int64[np.ndarray, " n"]]] = {
        name: [] for name, share in zip(NAMES, shares, strict=True) if share > 0
    }
    for label, class_name in enumerate(dataset.classes):
        members = np.flatnonzero(whole.labels == label)
        order = np.random.default_rng((seed, label)).permutation(members)
        bounds = np.round(np.cumsum(shares) / sum(shares) * len(order)).astype(int)
        for name, part in zip(NAMES, np.split(order, bounds[:-1]), strict=True):
            if name not in chosen:
                continue
            if not len(part):
                raise DataError(
                    f"{dataset.name}: class {class_name!r} has {len(members)} images, too few for a share in {name}; "
                    "add images or change data.split"
                )
            chosen[name].append(part)
    return {name: np.sort(np.concatenate(parts)) for name, parts in chosen.items()}


def record(dataset: Dataset) -> str:
    """The split of every example as JSON: {"classes": […], "splits": {name: [id, …]}}."""
    ids = {name: list(split.ids) for name, split in dataset.splits.items()}
    return json.dumps({"classes": dataset.classes, "splits": ids}, indent=1)


def write(dataset: Dataset, path: Path) -> None:
    """Keep the `record`."""
    write_atomically(path, record(dataset))


def digest(dataset: Dataset) -> str:
    """A hash of which example is in which split, and of the classes."""
    return hashlib.sha256(record(dataset).encode(errors="surrogatepass")).hexdigest()


def read(dataset: Dataset, path: Path) -> Dataset:
    """Split `dataset` as recorded in `path`; examples that came since are left out.

    Raises:
        DataError: the record cannot be read, or an example that it names is gone.
    """
    recorded = read_ids(path)
    place = {id_: (split, i) for split in dataset.splits.values() for i, id_ in enumerate(split.ids)}
    splits, notes = {}, dataset.notes
    for name, ids in recorded.items():
        gone = [id_ for id_ in ids if id_ not in place]
        if gone:
            raise DataError(
                f"{len(gone)} images that {path} lists in {name} are no longer in {dataset.name}, "
                f"the first is {gone[0]}: put them back, or start in a new run directory"
            )
        if ids:
            splits[name] = _gather([place[id_] for id_ in ids])
    others = len(place) - len({id_ for ids in recorded.values() for id_ in ids})
    if others:
        images, them = ("1 image is", "it") if others == 1 else (f"{others:,} images are", "them")
        notes = (*notes, f"{images} left out: {path.name} does not list {them} (newer, or left out then too)")
    return replace(dataset, splits=splits, notes=notes)


def read_ids(path: Path) -> dict[str, list[str]]:
    """The ids of each split as recorded in `path`; raises DataError as `read`."""
    try:
        recorded = {name: list(ids) for name, ids in parse_json(read_text(path))["splits"].items()}
    except FileNotFoundError as error:
        raise DataError(f"{path} is gone: put it back, or name the images with --data.dataset") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read as a record of splits: {error}") from error
    if not all(isinstance(id_, str) for ids in recorded.values() for id_ in ids):
        raise DataError(f"{path} cannot be read as a record of splits: it names what is no text")
    return recorded


def _gather(places: list[tuple[Split, int]]) -> Split:
    """The examples at these places; a recorded split lies within one split of the data set as it is found."""
    owner = places[0][0]
    if any(split is not owner for split, _ in places):
        raise DataError(f"images moved between the folders of the splits, the first is {owner.ids[places[0][1]]}")
    return owner.take([index for _, index in places])
