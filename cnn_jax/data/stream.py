"""Batches for training and evaluation, as a pure function of (seed, epoch, position).

A pass over n training images is a seeded permutation of them, filled up to whole batches with the start of further
permutations; the passes follow each other without end. Each example carries the seed of its own augmentation.
Nothing depends on threads, and going on from a step needs nothing but its number.
"""

import contextlib
import importlib.metadata
import json
import math
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment import augment
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sampler import shuffled
from cnn_jax.data.sources import ArrayImages, ResizedImages, Split
from cnn_jax.data.sources.content import sha256
from cnn_jax.data.sources.images import DrawnImages, EncodedImages, FileImages, outside_of_graph
from cnn_jax.errors import DataError
from cnn_jax.io.files import cache_folder
from cnn_jax.io.store import RowStore
from cnn_jax.io.tensorflow import first_line, read_errors, tf

Batch = dict[str, np.ndarray]
"""image uint8[b, h, w, 3], label int32[b], index int64[b] (position in the split), mask bool[b] (False: padding).

In the place of images there may be other arrays [b, …] that stand for them (see `rows`).
"""

PREFETCH = 2
"""Batches prepared ahead of the step."""

PARALLEL_CALLS = os.cpu_count() or 1
"""Images decoded at the same time."""


def steps_per_pass(examples: int, batch_size: int) -> int:
    """Batches that show every example at least once."""
    return -(-examples // batch_size)


def pass_order(examples: int, batch_size: int, seed: int, number: int) -> Int64[np.ndarray, " m"]:
    """Indices of the examples in pass `number`, each at least once, in whole batches: steps_per_pass * batch_size."""
    wanted = steps_per_pass(examples, batch_size) * batch_size
    key = _pass_key(seed, number)
    return np.concatenate([shuffled(examples, (key, -1 - i)) for i in range(-(-wanted // examples))])[:wanted]


def _pass_key(seed: int, number: int) -> int:
    """Different for every seed and pass, in 64 bits.

    It is the first half of the seeds of TensorFlow's stateless generators; the second half is the position of the
    example for its augmentation, and -1, -2, … for the permutations.
    """
    return (seed << 32) + number


def _augmented(image: Any, seed: Any, config: AugmentConfig, resize: Resize) -> Any:
    """An image of any size, resized and augmented: uint8[h, w, 3]."""
    return augment(image if config.reads_originals else resize(image), seed, config, resize.shape[:2])


@dataclass(frozen=True)
class TrainStream:
    """An endless stream of training batches."""

    split: Split
    resize: Resize
    batch_size: int
    seed: int
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    process: int = 0
    """This process' place among `processes`: it decodes its own part of each batch."""
    processes: int = 1

    def batches(self, first_step: int = 0, parallel_calls: int | None = None) -> Generator[Batch, None, None]:
        """The batches from step `first_step` on.

        Raises:
            DataError: an image cannot be read; the message names the file.
        """

        def load(index: Any, seed: Any, label: Any) -> dict[str, Any]:
            image = _augmented(self.split.images.load(index), seed, self.augment, self.resize)
            return {"image": image, "label": label, "index": index, "mask": True}

        dataset = self._plan(first_step).map(load, parallel_calls or PARALLEL_CALLS, deterministic=True)
        dataset = dataset.batch(self.batch_size // self.processes, drop_remainder=True).prefetch(PREFETCH)
        return _named_errors(dataset, self.split, self._order(first_step))

    def _plan(self, first_step: int) -> Any:
        """The examples of this process' part of each batch, as a data set of index, augmentation seed and label.

        All of it but the order of a pass is TensorFlow's, so that no step waits for Python.
        """
        examples, local = len(self.split), self.batch_size // self.processes
        steps = steps_per_pass(examples, self.batch_size)
        first_pass, first_step_in_pass = divmod(first_step, steps)
        all_labels = outside_of_graph(self.split.labels)

        def one_pass(number: Any) -> Any:
            key = tf().constant(_pass_key(self.seed, 0), tf().int64) + number
            order = tf().numpy_function(
                lambda n: pass_order(examples, self.batch_size, self.seed, int(n)), [number], tf().int64
            )
            begin = tf().where(number == first_pass, tf().constant(first_step_in_pass * local, tf().int64), 0)
            mine = tf().range(begin, steps * local, dtype=tf().int64)
            here = mine // local * self.batch_size + self.process * local + mine % local
            indices = tf().ensure_shape(tf().gather(order, here), (None,))
            seeds = tf().stack([tf().fill(tf().shape(here), key), here], axis=1)
            labels = tf().gather(all_labels, indices)
            return tf().data.Dataset.from_tensor_slices((indices, seeds, labels))

        return tf().data.Dataset.range(first_pass, np.iinfo(np.int64).max).flat_map(one_pass)

    def _order(self, first_step: int) -> Iterator[int]:
        """The indices of all processes' examples from a step on, batch by batch."""
        number, step = divmod(first_step, steps_per_pass(len(self.split), self.batch_size))
        while True:
            order = pass_order(len(self.split), self.batch_size, self.seed, number)
            yield from order[step * self.batch_size :]
            number, step = number + 1, 0


@dataclass(frozen=True)
class View:
    """One of several augmented versions of every image, fixed by `seed` and `number`."""

    augment: AugmentConfig
    seed: int
    number: int


def evaluation_batches(
    split: Split, resize: Resize, batch_size: int, process: int = 0, processes: int = 1, view: View | None = None
) -> Generator[Batch, None, None]:
    """Every example once, in order; the last batch is filled up with examples whose mask is False.

    Each process gets its part of every batch, and all of them the same number of batches. With `view`, the images are
    augmented: in the same way at every call.
    """
    steps, local = steps_per_pass(len(split), batch_size), batch_size // processes
    positions = np.arange(steps * batch_size).reshape(steps, processes, local)[:, process].ravel()
    mask = positions < len(split)
    indices = np.where(mask, positions, 0)
    if view is None and isinstance(split.images, ArrayImages | DrawnImages):
        return _batches_in_python(split, resize, indices, mask, local)

    def load(index: Any, label: Any, real: Any) -> dict[str, Any]:
        image = split.images.load(index)
        if view is None:
            image = resize(image)
        else:
            key = tf().constant(_pass_key(view.seed, view.number), tf().int64)
            image = _augmented(image, tf().stack([key, index]), view.augment, resize)
        return {"image": image, "label": label, "index": index, "mask": real}

    dataset = tf().data.Dataset.from_tensor_slices((indices, split.labels[indices], mask))
    dataset = dataset.map(load, PARALLEL_CALLS, deterministic=True).batch(local).prefetch(PREFETCH)
    return _named_errors(dataset, split, iter(indices))


def _batches_in_python(
    split: Split, resize: Resize, indices: Int64[np.ndarray, " n"], mask: Bool[np.ndarray, " n"], size: int
) -> Generator[Batch, None, None]:
    """Batches of images for which TensorFlow would ask Python anyway, or which are there already."""
    for start in range(0, len(indices), size):
        here = indices[start : start + size]
        images = np.stack([resize.array(split.images.array(index)) for index in here])
        yield {"image": images, "label": split.labels[here], "index": here, "mask": mask[start : start + size]}


def in_memory(split: Split, resize: Resize, budget: int, disk_megabytes: float = 0) -> Split:
    """The same examples, decoded and resized once if they fit into `budget` bytes; otherwise `split` itself.

    Args:
        disk_megabytes: the bound of what is kept of image files in the cache folder, so that no start decodes an image
            again; pixels are found by what their file holds. A disk that takes none costs no more than that.

    Raises:
        DataError: an image cannot be read; the message names the file.
    """
    shape = (len(split), *resize.shape)
    if math.prod(shape) > budget:
        return split
    pixels, missing = _aligned(shape), np.arange(len(split))
    store = RowStore(_pixels_folder(resize), shape[1:], pixels.dtype, disk_megabytes)
    kept = disk_megabytes > 0 and isinstance(split.images, FileImages | EncodedImages)
    hashes = split.images.hashes() if kept else np.zeros((len(split), 0), np.uint8)
    if kept:
        missing = store.read(hashes, pixels)
    with store.adding() as adding:
        rest = evaluation_batches(split.take(missing), resize, min(64, len(missing))) if len(missing) else ()
        for batch in rest:
            images, here = batch["image"][batch["mask"]], missing[batch["index"][batch["mask"]]]
            pixels[here] = images
            if kept:
                adding.add(hashes[here], images)
    return replace(split, images=ResizedImages(pixels, split.images))


def _pixels_folder(resize: Resize) -> Path:
    """Where resized pixels are kept, with all that they depend on besides the files: the decoders are among that."""
    decoders = [importlib.metadata.version(name) for name in ("cnn_jax", "pillow")]
    key = json.dumps([asdict(resize), decoders, _tensorflow_version()])
    return cache_folder() / "images" / sha256(key.encode()).hex()


def _tensorflow_version() -> str:
    """Without its import."""
    for name in ("tensorflow-cpu", "tensorflow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def _aligned(shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """An empty array that begins at a multiple of 64 bytes, so that TensorFlow takes it without a copy."""
    memory = np.empty(math.prod(shape) + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + math.prod(shape)].reshape(shape)


def unreadable(split: Split, progress: Callable[[int], None] = lambda images: None) -> list[int]:
    """Indices of the examples whose images cannot be read; `progress` is told of every image."""

    def readable(index: Any) -> Any:
        return tf().size(split.images.load(index)) > 0

    indices = tf().data.Dataset.range(len(split))
    found = indices.map(readable, PARALLEL_CALLS, deterministic=True)
    good, bad = found.as_numpy_iterator(), []
    for index in range(len(split)):
        try:
            next(good)
        except read_errors():
            bad.append(index)
        progress(1)
    return bad


def _named_errors(dataset: Any, split: Split, order: Iterator[int]) -> Generator[Batch, None, None]:
    """The batches; an image that cannot be read ends them with an error that names it.

    TensorFlow's error has no file name, so the examples that were due are read one by one until one fails.
    """
    options = tf().data.Options()
    options.autotune.enabled = False  # nothing is left to tune, and its thread holds up the end by half a minute
    batches = dataset.with_options(options).as_numpy_iterator()
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except read_errors() as error:
            raise DataError(_unreadable_message(split, order, error)) from error
        for _ in range(len(batch["label"])):
            next(order)
        yield batch


def _unreadable_message(split: Split, order: Iterator[int], error: Exception) -> str:
    for _, index in zip(range(len(split)), order, strict=False):
        try:
            split.images.load(index)
        except read_errors() as found:
            reason = first_line(found)
            return (
                f"{split.ids[index]} cannot be read as an image: {reason}\n"
                "  Mend or remove the file, or go on without such files with --data.unreadable=skip"
            )
    return f"reading the images failed: {first_line(error)}"
