"""Batches for training and evaluation, as a pure function of (seed, epoch, position).

A pass over n training images is a seeded permutation of them, filled up to whole batches with the start of further
permutations; the passes follow each other without end. Each example carries the seed of its own augmentation.
Nothing depends on threads, and going on from a step needs nothing but its number.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment import augment
from cnn_jax.data.preprocess import resize
from cnn_jax.data.sources import Split
from cnn_jax.data.tensorflow import tf
from cnn_jax.errors import DataError

Batch = dict[str, np.ndarray]
"""image uint8[b, s, s, 3], label int32[b], index int64[b] (position in the split), mask bool[b] (False: padding)."""

PREFETCH = 2
"""Batches prepared ahead of the step."""

_PERMUTATION, _AUGMENTATION = 0, 1  # which random numbers a seed is for


def steps_per_pass(examples: int, batch_size: int) -> int:
    """Batches that show every example at least once."""
    return -(-examples // batch_size)


def pass_order(examples: int, batch_size: int, seed: int, number: int) -> np.ndarray:
    """Indices of the examples in pass `number`: int64[steps_per_pass * batch_size], each at least once."""
    wanted = steps_per_pass(examples, batch_size) * batch_size
    repeats = -(-wanted // examples)
    rng = np.random.default_rng((seed, _PERMUTATION, number))
    return np.concatenate([rng.permutation(examples) for _ in range(repeats)])[:wanted]


def pass_key(seed: int, number: int) -> int:
    """The first half of the augmentation seeds of pass `number`; the second half is the position in the pass."""
    return int(np.random.default_rng((seed, _AUGMENTATION, number)).integers(2**62))


@dataclass(frozen=True)
class TrainStream:
    """An endless stream of training batches."""

    split: Split
    image_size: int
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
            image = augment(resize(self.split.images.load(index), self.image_size), seed, self.augment)
            return {"image": image, "label": label, "index": index, "mask": True}

        signature = (
            tf().TensorSpec((None,), tf().int64),
            tf().TensorSpec((None, 2), tf().int64),
            tf().TensorSpec((None,), tf().int32),
        )
        plan = tf().data.Dataset.from_generator(lambda: self._plan(first_step), output_signature=signature)
        dataset = plan.unbatch().map(load, parallel_calls or tf().data.AUTOTUNE, deterministic=True)
        dataset = dataset.batch(self.batch_size // self.processes, drop_remainder=True).prefetch(PREFETCH)
        return _named_errors(
            dataset, self.split, (index for indices, _, _ in self._plan(first_step) for index in indices)
        )

    def _plan(self, first_step: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each step: indices, augmentation seeds and labels of this process' part of the batch."""
        steps = steps_per_pass(len(self.split), self.batch_size)
        local = self.batch_size // self.processes
        number = first_step // steps
        position = first_step % steps
        while True:
            order = pass_order(len(self.split), self.batch_size, self.seed, number)
            key = pass_key(self.seed, number)
            for step in range(position, steps):
                start = step * self.batch_size + self.process * local
                positions = np.arange(start, start + local)
                indices = order[positions]
                seeds = np.stack([np.full(local, key), positions], axis=1)
                yield indices, seeds, self.split.labels[indices]
            number, position = number + 1, 0


def evaluation_batches(
    split: Split, image_size: int, batch_size: int, process: int = 0, processes: int = 1
) -> Generator[Batch, None, None]:
    """Every example once, in order; the last batch is filled up with examples whose mask is False.

    Each process gets its part of every batch, and all of them the same number of batches.
    """
    steps, local = steps_per_pass(len(split), batch_size), batch_size // processes
    positions = np.arange(steps * batch_size).reshape(steps, processes, local)[:, process].ravel()
    mask = positions < len(split)
    indices = np.where(mask, positions, 0)

    def load(index: Any, label: Any, real: Any) -> dict[str, Any]:
        image = resize(split.images.load(index), image_size)
        return {"image": image, "label": label, "index": index, "mask": real}

    dataset = tf().data.Dataset.from_tensor_slices((indices, split.labels[indices], mask))
    dataset = dataset.map(load, tf().data.AUTOTUNE, deterministic=True).batch(local).prefetch(PREFETCH)
    return _named_errors(dataset, split, iter(indices))


def unreadable(split: Split, image_size: int) -> list[int]:
    """Indices of the examples whose images cannot be read."""

    def readable(index: Any) -> Any:
        return resize(split.images.load(index), image_size)[0, 0, 0] >= 0

    indices = tf().data.Dataset.range(len(split))
    found = indices.map(readable, tf().data.AUTOTUNE, deterministic=True)
    good, bad = found.as_numpy_iterator(), []
    for index in range(len(split)):
        try:
            next(good)
        except tf().errors.OpError:
            bad.append(index)
    return bad


def _named_errors(dataset: Any, split: Split, order: Iterator[int]) -> Generator[Batch, None, None]:
    """The batches; an image that cannot be read ends them with an error that names it.

    TensorFlow's error has no file name, so the examples that were due are read one by one until one fails.
    """
    batches = dataset.as_numpy_iterator()
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except tf().errors.OpError as error:
            raise DataError(_unreadable_message(split, order, error)) from error
        for _ in range(len(batch["label"])):
            next(order)
        yield batch


def _unreadable_message(split: Split, order: Iterator[int], error: Exception) -> str:
    reason = str(getattr(error, "message", error)).splitlines()[0]
    for _, index in zip(range(len(split)), order, strict=False):
        try:
            split.images.load(index)
        except tf().errors.OpError as found:
            reason = str(getattr(found, "message", found)).split(" [Op:")[0].splitlines()[0]
            return (
                f"{split.ids[index]} cannot be read as an image: {reason}\n"
                "  Mend or remove the file, or go on without such files with --data.unreadable=skip"
            )
    return f"reading the images failed: {reason}"
