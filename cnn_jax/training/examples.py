"""The examples of a run: its splits, without what cannot be read, and what a run needs of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from cnn_jax.config import Config
from cnn_jax.data import splits
from cnn_jax.data.sources import Dataset, open_dataset
from cnn_jax.data.sources.dataset import TRAINED_ON, about_numbers, unmeasured
from cnn_jax.data.stream import unreadable
from cnn_jax.errors import ConfigError, DataError
from cnn_jax.io.escaping import printable
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.shared import Shared


def require_text(config: Config, dataset: Dataset) -> None:
    """Raise DataError where a name that every checkpoint has to hold is no text: bytes of a path that are no UTF-8."""
    for name in (config.data.dataset, config.model.weights, *dataset.classes):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{printable(name)}: this name is not UTF-8, so it cannot be saved: rename it") from error


def require_validation(config: Config, dataset: Dataset) -> None:
    """Raise ConfigError where something goes by the validation, and there is none."""
    if "validation" in dataset.splits:
        return
    by_validation = {
        "train.early_stopping_epochs": config.train.early_stopping_epochs,
        "optimizer.schedule": "plateau" if config.optimizer.schedule == "plateau" else None,
    }
    for name, value in by_validation.items():
        if value is not None:
            raise ConfigError(
                f"{name}={value} goes by validation images, and there are none: leave it out, or give them a share in "
                "data.split"
            )


def open_splits(
    config: Config, recorded: Path | None, reporter: Reporter, shared: Shared
) -> tuple[Dataset, dict[str, list[str]]]:
    """The data set with its train and, if there is to be one, validation split, and what could not be read by split.

    Raises:
        UserError: as `set_up`, whose arguments these are.
    """
    data = config.data if recorded is None else replace(config.data, exclude=None)  # a record has what exclude left
    found = shared.once(("data set", data), lambda: _with_order(open_dataset(data)))
    dataset = splits.partition(found, data.split, config.seed) if recorded is None else splits.read(found, recorded)
    if "train" not in dataset.splits:
        raise DataError(f"data.dataset={data.dataset} has no train images: give them a share in data.split")
    if data.unreadable == "error" or recorded is not None:
        return dataset, {}
    drawn_by = None if dataset is found else config.seed
    return shared.once(("readable", data, drawn_by), lambda: _without_unreadable(dataset, reporter))


def _with_order(dataset: Dataset) -> Dataset:
    """The data set with the line that says in which order its classes are, where that may surprise."""
    line = about_numbers(dataset.classes)
    return replace(dataset, notes=(line, *dataset.notes)) if line else dataset


def _without_unreadable(dataset: Dataset, reporter: Reporter) -> tuple[Dataset, dict[str, list[str]]]:
    """The images that can be read, and the names of the others by split."""
    kept, bad, notes = {}, {}, list(dataset.notes)
    for name, split in dataset.splits.items():
        with reporter.bar(f"look for unreadable images in {name}", len(split), "images") as bar:
            found = unreadable(split, bar.advance)
        bad[name] = [split.ids[i] for i in found]
        kept[name] = split.take(np.setdiff1d(np.arange(len(split)), found))
        emptied = [dataset.classes[i] for i in np.setdiff1d(split.labels, kept[name].labels)]
        if emptied and (name in TRAINED_ON or not len(kept[name])):
            raise DataError(f"no image of class {emptied[0]!r} in {name} can be read")
        if emptied:
            notes.append(unmeasured(f"what can be read leaves {name}", emptied))
    return replace(dataset, splits=kept, notes=tuple(notes)), bad
