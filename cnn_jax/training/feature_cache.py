"""The frozen start of a network, run once for each image: the rest trains on what it gave.

Where no layer before some point trains or depends on chance, and the images come without (or with a few fixed)
augmentations, the output of those layers is the same at every visit of an image.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import jax
import jaxlib
import numpy as np

from cnn_jax.compiling import jit
from cnn_jax.config import Config
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.rows import evaluation_rows
from cnn_jax.data.sources import Split
from cnn_jax.data.stream import View, evaluation_batches
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.models.chain import Variables, layer_names
from cnn_jax.models.model import Model
from cnn_jax.training.feature_files import folder, make_room, numpy_dtype, open_features, write
from cnn_jax.training.freezing import Freezing, digest
from cnn_jax.training.logs import Reporter
from cnn_jax.training.mesh import Mesh
from cnn_jax.training.processes import all_of_them, together


@dataclass(frozen=True)
class Plan:
    """What is kept of each image."""

    layers: int
    """How many layers run once; the rest trains on the output of the last of them."""
    shape: tuple[int, ...]
    """Of one image's features."""
    dtype: str
    views: int
    """Augmented versions of each training image; 0: the image itself."""
    megabytes: float
    """Of all features, training and validation."""
    in_memory: bool
    """Or in files of the cache folder."""


@dataclass(frozen=True)
class Features:
    """The features of every image."""

    training: list[np.ndarray]
    """A view each: float[n, …]"""
    validation: np.ndarray
    """float[n, …]"""


@dataclass(frozen=True)
class Source:
    """The features of fewer layers of the same network for the same images, to go on from."""

    layers: int
    features: Features


def plan(
    config: Config,
    model: Model,
    freezing: Freezing,
    images: dict[str, int],
    visits: int,
) -> tuple[Plan | None, str]:
    """Whether to keep features, and in what form; depends on nothing but its arguments, so that a resumed run agrees.

    Args:
        images: the numbers of images in train and validation.
        visits: how many training images the steps will see, repetitions counted.

    Returns:
        The plan, or None and the reason.

    Raises:
        ConfigError: train.feature_cache=on where that cannot be.
    """
    settings, augmented = config.train, config.data.augment.changes_images
    if settings.feature_cache == "off":
        return None, "train.feature_cache=off"
    layers = freezing.prefix(model)
    names = layer_names(model.layers[:layers])
    if not any(name in model.shapes["params"] for name in names):
        return _refused(settings.feature_cache, "nothing is frozen at the start of the network (train.freeze_until)")
    if config.data.augment.mixes:
        return _refused(
            settings.feature_cache,
            "each step mixes its images anew (data.augment.mixup, data.augment.cutmix), before the first layer",
        )
    if augmented and not settings.feature_views:
        return _refused(
            settings.feature_cache,
            "the images are augmented anew at every visit; train.feature_views=k would keep k versions of each",
        )
    views = settings.feature_views if augmented else 0
    shape = model.output_shapes[names[-1]].shape[1:]
    each = math.prod(shape) * numpy_dtype(settings.feature_dtype).itemsize
    computed = images["train"] * max(views, 1)
    megabytes = (computed + images["validation"]) * each / 2**20
    if settings.feature_cache == "auto" and visits < 1.5 * computed:
        return None, "each image is visited too seldom for it"
    in_memory = megabytes <= settings.feature_memory_megabytes
    if not in_memory and megabytes > settings.feature_disk_megabytes:
        return _refused(
            settings.feature_cache,
            f"they need {megabytes:,.0f} MB, more than train.feature_memory_megabytes and train.feature_disk_megabytes",
        )
    return Plan(layers, shape, settings.feature_dtype, views, megabytes, in_memory), ""


def _refused(setting: str, reason: str) -> tuple[None, str]:
    if setting == "on":
        raise ConfigError(f"train.feature_cache=on is not possible: {reason}")
    return None, reason


def identity(model: Model, layers: int, variables: Variables, resize: Resize) -> str:
    """A hash of all that the output of the first `layers` layers depends on, besides the images."""
    names = layer_names(model.layers[:layers])
    parts = [digest(_of_layers(names, variables)), names, asdict(resize), model.normalisation, model.precision]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _of_layers(names: Sequence[str], variables: Variables) -> Variables:
    return {
        collection: {layer: leaves for layer, leaves in layers.items() if layer in names}
        for collection, layers in variables.items()
    }


class FeatureCache:
    """Computes the features of a plan, or finds them in the cache folder."""

    def __init__(
        self,
        plan: Plan,
        config: Config,
        model: Model,
        variables: Variables,
        mesh: Mesh,
        source: Source | None = None,
    ) -> None:
        """With `source`, only the layers after it run; the features are the same."""
        self._plan, self._config, self._mesh, self._source = plan, config, mesh, source
        self._resize = Resize.of(config.data, config.model.image_size)
        self._model = model.part(0, plan.layers)
        self._variables = _of_layers(layer_names(self._model.layers), variables)
        runs = self._model if source is None else model.part(source.layers, plan.layers)
        self._run = jit(
            lambda variables, inputs: runs.outputs(variables, inputs, as_from_images=True).astype(plan.dtype),
            in_shardings=(mesh.replicated, mesh.sharded),
            out_shardings=mesh.replicated,
        )

    def load(
        self, training: Split, validation: Split, reporter: Reporter, stopped: Callable[[], bool]
    ) -> Features | None:
        """The features of both splits; None where `stopped` says that the user does not want to wait for them.

        Raises:
            RunError: there is no room for them.
            DataError: an image cannot be read; the message names the file.
        """
        config, begun = self._config, time.perf_counter()
        views: list[View | None] = [View(config.data.augment, config.seed, i) for i in range(self._plan.views)]
        before: list[np.ndarray | None] = [None] * (len(views or [None]) + 1)
        if self._source is not None:
            before = [*self._source.features.training, self._source.features.validation]
        jobs = [(training, view) for view in views or [None]] + [(validation, None)]
        found: list[np.ndarray] = []
        with reporter.bar("features", sum(len(split) for split, _ in jobs), "images") as bar:
            for (split, view), rows in zip(jobs, before, strict=True):
                array = self._of_split(split, view, rows, lambda n: bar.advance(n, items=n), stopped)
                if array is None:
                    return None
                found.append(array)
        self._report(reporter, time.perf_counter() - begun)
        return Features(found[:-1], found[-1])

    def _report(self, reporter: Reporter, seconds: float) -> None:
        plan, size = self._plan, "x".join(map(str, self._plan.shape))
        of = f"{plan.views} augmented views of each image" if plan.views else "each image"
        where = "in memory" if plan.in_memory else f"in {folder()}"
        reporter.line(
            f"features   {of} kept as the output of {self._model.layers[-1].name} ({size} {plan.dtype}), "
            f"{plan.megabytes:,.0f} MB {where}, ready in {seconds:.1f} s"
            + ("" if self._source is None else ", from those of fewer layers")
        )

    def _of_split(
        self,
        split: Split,
        view: View | None,
        before: np.ndarray | None,
        progress: Callable[[int], None],
        stopped: Callable[[], bool],
    ) -> np.ndarray | None:
        shape = (len(split), *self._plan.shape)
        if self._plan.in_memory:
            kept, done = np.empty(shape, numpy_dtype(self._plan.dtype)), 0
            for rows in self._rows(split, view, before):
                if stopped():
                    return None
                kept[done : done + len(rows)] = rows
                done += len(rows)
                progress(len(rows))
            return kept
        path = folder() / f"{self._key(split, view)}.npy"
        found = open_features(path, shape, self._plan.dtype)
        if all_of_them(found is not None):  # computing them takes all processes
            progress(len(split))
            os.utime(path)  # what was used last goes last
            return found
        with together():
            make_room(
                math.prod(shape) * numpy_dtype(self._plan.dtype).itemsize, self._config.train.feature_disk_megabytes
            )
        if not write(path, shape, self._plan.dtype, self._rows(split, view, before), progress, stopped):
            return None
        written = open_features(path, shape, self._plan.dtype)
        if written is None:
            raise RunError(f"{path} was removed while it was written: start the same command again")
        return written

    def _rows(self, split: Split, view: View | None, before: np.ndarray | None) -> Iterable[np.ndarray]:
        """The features in the order of the split, batch by batch; `before` are those of the source."""
        size, mesh = self._config.data.eval_batch_size, self._mesh
        if before is None:
            parts = evaluation_batches(split, self._resize, size, mesh.process, mesh.processes, view)
        else:
            parts = evaluation_rows(before, split.labels, size, mesh.process, mesh.processes)
        for batch in mesh.with_all_labels(parts):
            yield np.asarray(self._run(self._variables, self._mesh.put_batch(batch["image"])))[batch["mask"]]

    def _key(self, split: Split, view: View | None) -> str:
        """Changes with everything that the features depend on: weights, layers, preprocessing, images, augmentation."""
        parts = [
            identity(self._model, self._plan.layers, self._variables, self._resize),
            self._plan.dtype,
            split.images.fingerprint(),
            None if view is None else asdict(view),
            [jaxlib.__version__, jax.default_backend(), self._mesh.devices, self._mesh.processes, self._mesh.process],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
