"""Data sets by name, as labelled examples in a fixed order.

`folder:DIR` (`folders`), `flat:DIR` (`flat`), `csv:FILE` (`csv_table`), `tfds:NAME[:CONFIG]` (`tfds`), `digits` and
`shapes` (`made`).
"""

from cnn_jax.config import DataConfig
from cnn_jax.config.data import DATASET_FORMS
from cnn_jax.data.sources.csv_table import open_csv
from cnn_jax.data.sources.dataset import UNSPLIT, Dataset, Split, align_classes, in_order, leave_out, select_classes
from cnn_jax.data.sources.flat import open_flat
from cnn_jax.data.sources.folders import IMAGE_SUFFIXES, image_files, open_folder
from cnn_jax.data.sources.images import ArrayImages, EncodedImages, FileImages, Images, ResizedImages
from cnn_jax.data.sources.made import open_digits, open_shapes
from cnn_jax.data.sources.names import Names
from cnn_jax.data.sources.tfds import check_within_reach, open_tfds
from cnn_jax.errors import ConfigError, DataError, RemoteError
from cnn_jax.io.files import as_path

__all__ = [
    "IMAGE_SUFFIXES",
    "UNSPLIT",
    "ArrayImages",
    "Dataset",
    "EncodedImages",
    "FileImages",
    "Images",
    "Names",
    "ResizedImages",
    "Split",
    "align_classes",
    "check_data_within_reach",
    "image_files",
    "open_dataset",
    "select_classes",
]


def open_dataset(config: DataConfig) -> Dataset:
    """The data set that `config.dataset` names, without what `config.exclude` names, with `config.classes`.

    Raises:
        ConfigError: a name of an unknown form, or classes that the data set lacks.
        DataError: a folder that is missing, empty or without classes; a line of `config.exclude` that names no image.
        FetchError: a data set that is not here and cannot be fetched.
    """
    try:
        dataset = _open(config)
    except RemoteError as error:
        raise DataError(f"data.dataset={config.dataset} cannot be read: {error.strerror}") from error
    if config.exclude is not None:
        dataset = leave_out(dataset, as_path(config.exclude))
    classes = config.classes
    if classes is None and config.class_order == "natural":
        classes = in_order(dataset.classes, config.class_order)
    return dataset if classes is None else select_classes(dataset, classes, "data.classes")


def check_data_within_reach(config: DataConfig) -> None:
    """FetchError where the data set would have to be fetched, and its server cannot be reached."""
    kind, _, rest = config.dataset.partition(":")
    if kind == "tfds" and rest:
        check_within_reach(config.dataset, rest, config.data_dir)


def _open(config: DataConfig) -> Dataset:
    kind, _, rest = config.dataset.partition(":")
    if kind == "folder" and rest:
        return open_folder(config, as_path(rest))
    if kind == "flat" and rest:
        return open_flat(config, as_path(rest))
    if kind == "csv" and rest:
        return open_csv(config, as_path(rest))
    if kind == "tfds" and rest:
        return open_tfds(config, rest)
    if config.dataset == "digits":
        return open_digits()
    if config.dataset == "shapes":
        return open_shapes(config.shapes_examples, config.shapes_size, config.shapes_seed)
    raise ConfigError(f"data.dataset={config.dataset!r} is not possible: it must be {DATASET_FORMS}")
