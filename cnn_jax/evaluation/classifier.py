"""A trained network, ready to name what is on images."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from cnn_jax.config.data import Background
from cnn_jax.data.given import Image, are_paths, given
from cnn_jax.data.paths import Readable, expand, readable_batches, why_unreadable
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import FileImages
from cnn_jax.errors import ConfigError, DataError
from cnn_jax.evaluation.evaluator import run_ahead
from cnn_jax.evaluation.known import Known
from cnn_jax.evaluation.network import LayeredNetwork, Network
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model

NOT_SURE, OTHER = "not sure", "none of the classes"
LARGEST_BATCH = 64
"""Images in a step."""


@dataclass(frozen=True)
class Classified:
    """What the network says of n images."""

    classes: tuple[str, ...]
    """The most probable class of each image."""
    probabilities: Float32[np.ndarray, "n classes"]
    """In the order of `Classifier.classes`."""
    answers: tuple[str, ...] = ()
    """The same as `classes`, but `NOT_SURE` below the threshold, and `OTHER` for what is too far from all of them."""
    distances: Float64[np.ndarray, " n"] | None = None
    """From what is known (see `known`), where that was asked for."""


@dataclass(frozen=True)
class FileResult:
    """What the network says of a file: probabilities, or why there are none."""

    path: str
    probabilities: Float32[np.ndarray, " classes"] | None
    error: str | None = None
    distance: float | None = None
    """From what is known, where that was asked for."""


@dataclass(frozen=True)
class Doubt:
    """When an image is not named."""

    threshold: float = 0.0
    """Below this probability of the most probable class, the network is not sure."""
    known: Known | None = None
    """What images of the classes look like to the network; None: every image is taken for one."""
    share: float = 0.95
    """Of the validation images that are to be taken for known."""

    @property
    def doubts(self) -> bool:
        """Whether there is an image that it might not name."""
        return self.threshold > 0 or self.known is not None

    @cached_property
    def limit(self) -> float:
        """The distance from which on an image is something else."""
        return math.inf if self.known is None else self.known.limit(self.share)

    def answer(self, result: FileResult, classes: Sequence[str]) -> str:
        """The most probable class of a result that has probabilities, `NOT_SURE` or `OTHER`."""
        assert result.probabilities is not None
        if result.distance is not None and result.distance > self.limit:
            return OTHER
        best = int(result.probabilities.argmax())
        return classes[best] if result.probabilities[best] >= self.threshold else NOT_SURE


@dataclass(frozen=True)
class Classifier:
    """Classifies arrays and files; `cnn_jax.load` makes one from a run or an exported file."""

    network: Network
    classes: tuple[str, ...]
    resize: Resize
    background: Background = "white"
    """What shows through transparent pixels, as in training."""
    doubt: Doubt = field(default_factory=Doubt)
    """When it does not name an image."""

    def __call__(self, images: Image | Sequence[Image]) -> Classified:
        """Classify images of any size, with the right way up, background and resizing of training.

        Args:
            images: a path of a file, a folder (the files at any depth that have an image's suffix) or a pattern; the
                bytes of an image file or a file object opened in binary mode; a Pillow image; an array of 0 to 255,
                uint8[h, w], uint8[h, w, 1 to 4] (2 and 4: with alpha) or uint8[n, h, w, 1 to 4]; or a list of those.

        Raises:
            DataError: something else, an array of another kind, a path that stands for nothing, or an image that
                cannot be read; the message names it.
        """
        if are_paths(images):
            results = list(self.stream([*images] if isinstance(images, list | tuple) else [images]))  # type: ignore[list-item]
        else:
            found = given(images, self.background)
            results = list(self._run(found, found.names))
        for result in results:
            if result.error is not None:
                raise DataError(f"{result.path} cannot be read as an image: {result.error}")
        empty = np.zeros((0, len(self.classes)), np.float32)
        probabilities = (
            np.stack([r.probabilities for r in results if r.probabilities is not None]) if results else empty
        )
        named = tuple(self.classes[i] for i in probabilities.argmax(-1))
        answers = tuple(self.doubt.answer(result, self.classes) for result in results)
        distances = None if self.doubt.known is None else np.asarray([r.distance for r in results], np.float64)
        return Classified(named, probabilities, answers, distances)

    def stream(self, names: Sequence[str | Path]) -> Iterator[FileResult]:
        """Classify any number of files in bounded memory; a file that cannot be read is a result with an error.

        Raises:
            DataError: a name that stands for nothing.
        """
        return self.files(expand(names))

    def files(self, paths: Sequence[str]) -> Iterator[FileResult]:
        """The same for files alone; one that is gone is a result with an error too."""
        return self._run(FileImages.of(paths, self.background), paths)

    def pixels(self, path: str) -> UInt8[np.ndarray, "h w 3"]:
        """An image file as the network takes it.

        Raises:
            DataError: why it cannot be read.
        """
        return self.resize.array(FileImages.of([path], self.background).array(0))

    def _run(self, images: Readable, names: Sequence[str]) -> Iterator[FileResult]:
        """A result for each image, in order."""
        batch_size = min(LARGEST_BATCH, 1 << max(len(names) - 1, 0).bit_length())  # few sizes: each is compiled
        done = 0
        batches = readable_batches(images, len(names), self.resize, batch_size)
        known = self.doubt.known
        program = self.network.probabilities if known is None else self._layered.with_features
        for batch, rows in run_ahead(program, batches):
            found = rows[batch["mask"]]
            distances = [None] * len(found) if known is None else known.distance(found[:, len(self.classes) :]).tolist()
            for index, row, distance in zip(batch["index"][batch["mask"]], found, distances, strict=True):
                yield from self._failures(images, names, done, int(index))
                yield FileResult(names[index], row[: len(self.classes)], distance=distance)
                done = int(index) + 1
        yield from self._failures(images, names, done, len(names))

    def _failures(self, images: Readable, names: Sequence[str], start: int, stop: int) -> Iterator[FileResult]:
        for index in range(start, stop):
            yield FileResult(names[index], None, why_unreadable(images, index))

    def batch(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b classes"]:
        """The probabilities of images as the network takes them."""
        return np.asarray(self.network.probabilities(images))

    def doubting(self, threshold: float) -> "Classifier":
        """The same, not sure below this probability."""
        return replace(self, doubt=Doubt(threshold))

    def compile(self) -> None:
        """Do what the first image would wait for."""
        self.network.compile()

    @property
    def model(self) -> Model:
        """Its layers; ConfigError where it is a file that has none to look into."""
        return self._layered.model

    @property
    def variables(self) -> Variables:
        """The weights of its layers; ConfigError as for `model`."""
        return self._layered.variables

    @property
    def _layered(self) -> LayeredNetwork:
        if not isinstance(self.network, LayeredNetwork):
            raise ConfigError(f"{self.network} gives probabilities alone: to look into its layers, give the run")
        return self.network


def top(probabilities: Float[np.ndarray, " classes"], count: int) -> list[tuple[int, float]]:
    """The `count` most probable classes, as index and probability, best first, ties by index."""
    best = np.argsort(-probabilities, kind="stable")[:count]
    return [(int(index), float(probabilities[index])) for index in best]
