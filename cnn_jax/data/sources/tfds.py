"""Data sets of TensorFlow Datasets, read undecoded and in any order."""

import hashlib
import logging
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.config import DataConfig
from cnn_jax.config.data import Background
from cnn_jax.data.sources.dataset import UNSPLIT, Dataset, Split
from cnn_jax.data.sources.images import EncodedImages
from cnn_jax.data.sources.names import Names
from cnn_jax.errors import DataError, FetchError, UserError
from cnn_jax.io.escaping import as_it_is
from cnn_jax.io.fetching import out_of_reach, reason
from cnn_jax.io.files import as_path, cache_folder
from cnn_jax.io.tensorflow import tf
from cnn_jax.io.writing import is_remote

SPLITS = ("train", "validation", "test")


def open_tfds(config: DataConfig, spec: str) -> Dataset:
    """A prepared data set, or one that is downloaded and prepared now.

    New ones are written as ArrayRecord files, which can be read in any order; of ones that were prepared as TFRecord
    files, TFDS' own default, the places of the records are found first.

    Args:
        spec: NAME or NAME:CONFIG, as TFDS knows it or finds it below `config.data_dir`.

    Raises:
        DataError: it is unknown, or has no images with labels.
        FetchError: it is not here and cannot be fetched or prepared.
    """
    name, background = config.dataset, config.background
    builder = _prepared(name, spec.replace(":", "/"), config.data_dir)
    if not {"image", "label"} <= set(builder.info.features or {}):
        raise DataError(
            f"data.dataset={name}: its examples have no `image` and `label`, so it is no classification set"
        )
    classes = tuple(builder.info.features["label"].names)
    found = list(builder.info.splits)
    if "train" not in found and not {"validation", "test"} & set(found):
        raise DataError(f"data.dataset={name} has no train split; it has: {', '.join(found)}")
    if {"validation", "test"} & set(found):
        chosen = [split for split in found if split in SPLITS]
        return Dataset(name, classes, {split: _open_split(builder, split, background) for split in chosen})
    return Dataset(name, classes, {UNSPLIT: _open_split(builder, "train", background)})


def check_within_reach(name: str, spec: str, data_dir: str | None) -> None:
    """FetchError where the data set is not prepared here and its server cannot be reached."""
    builder = _builder(name, spec, data_dir)
    if not builder.is_prepared() and (why := _out_of_reach(builder)):
        raise _not_fetched(name, builder, why)


def _prepared(name: str, spec: str, data_dir: str | None) -> Any:
    builder = _builder(name, spec, data_dir)
    remote = is_remote(builder.data_dir)
    try:
        if not builder.is_prepared():
            if not remote:  # the writer of array records knows this machine alone
                builder = _builder(name, spec, data_dir, file_format="array_record")
            if why := _out_of_reach(builder):  # TFDS itself would try for minutes
                raise _not_fetched(name, builder, why)
            with as_it_is():  # the bars
                builder.download_and_prepare()
        return _builder(name, spec, str(_copied(as_path(builder.data_dir), str(data_dir)))) if remote else builder
    except UserError:
        raise
    except Exception as error:  # TFDS lets network, disk and checksum errors of many kinds through
        raise _not_fetched(name, builder, reason(error)) from error


def _builder(name: str, spec: str, data_dir: str | None, **options: Any) -> Any:
    tf()  # before tfds, so that it stays off accelerators
    import tensorflow_datasets as tfds

    known = spec.replace(":", "/")
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)  # no warning that what is to be fetched is not there yet
    try:
        return tfds.builder(known, data_dir=data_dir, **options)
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(f"data.dataset={name}: TFDS knows no data set {known!r}") from error
    finally:
        absl.setLevel(level)


def _out_of_reach(builder: Any) -> str | None:
    addresses = [url for url in builder.url_infos or () if url.startswith("http")]
    return out_of_reach(addresses[0]) if addresses else None


def _not_fetched(name: str, builder: Any, why: str) -> FetchError:
    return FetchError(
        f"data.dataset={name} ({why})\n"
        f"    Copy it from where it is prepared (~/tensorflow_datasets/{builder.name})\n"
        f"    to {Path(builder.data_dir).parent}, or name the folder above with --data.data_dir;\n"
        f"    your own photographs need none: --data.dataset=folder:DIR"
    )


def _copied(prepared: Path, data_dir: str) -> Path:
    """A copy in the cache of the folder of prepared data sets, of it the files in `prepared`.

    Examples are read in any order, a few kilobytes at a time, for which remote storage is slow.
    """
    from cnn_jax.io.remote import mirror

    copy = cache_folder() / "tfds" / hashlib.sha256(data_dir.rstrip("/").encode()).hexdigest()[:16]
    mirror(prepared, copy / prepared.relative_to(as_path(data_dir)))
    return copy


def _open_split(builder: Any, split: str, background: Background) -> Split:
    source = _examples(builder, split)
    labels = np.fromiter((example["label"] for example in source), np.int32, len(source))
    name = f"{builder.info.full_name}/{split}"
    ids = Names.of(f"{name}/{i}" for i in range(len(source)))
    images = EncodedImages(lambda i: source[i]["image"], np.arange(len(source)), name, background)
    return Split(ids, labels, images)


def _examples(builder: Any, split: str) -> Sequence[dict[str, Any]]:
    """The examples of a split in the order of its files, images undecoded."""
    import tensorflow_datasets as tfds

    decoders = {"image": tfds.decode.SkipDecoding()}
    if builder.info.file_format is not tfds.core.FileFormat.TFRECORD:
        return builder.as_data_source(split=split, decoders=decoders)
    features = builder.info.features
    files = [Path(path) for path in builder.info.splits[split].filepaths]
    return _TFRecords(files, lambda record: features.deserialize_example_np(record, decoders=decoders))


class _TFRecords(Sequence[dict[str, Any]]):
    """The records of TFRecord files by number.

    A record is its length (8 bytes, little-endian), a checksum (4), the content, and a checksum (4); see
    https://www.tensorflow.org/tutorials/load_data/tfrecord.
    """

    def __init__(self, files: list[Path], parse: Any) -> None:
        self._files, self._parse = files, parse
        places = [(number, *place) for number, file in enumerate(files) for place in _places(file)]
        self._places = np.asarray(places, np.int64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        number, start, length = self._places[index]
        with self._files[number].open("rb") as file:
            file.seek(start)
            return self._parse(file.read(length))


def _places(path: Path) -> Iterator[tuple[int, int]]:
    """Start and length of the content of each record."""
    with path.open("rb") as file:
        while header := file.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            yield file.tell(), length
            file.seek(length + 4, 1)
