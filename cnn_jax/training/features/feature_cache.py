"""The frozen start of a network, run once for each image: the rest trains on what it gave.

Where no layer before some point trains or depends on chance, and the images come without (or with a few fixed)
augmentations, the output of those layers is the same at every visit of an image.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt8

from cnn_jax.config import Config
from cnn_jax.data.array_batches import evaluation_rows
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Split
from cnn_jax.data.sources.content import as_array, sha256
from cnn_jax.data.stream import View, evaluation_batches
from cnn_jax.errors import RunError
from cnn_jax.io.files import cache_folder
from cnn_jax.io.store import Rows, RowStore, make_room, numpy_dtype
from cnn_jax.models.chain import Variables, layer_names
from cnn_jax.models.model import Model
from cnn_jax.runtime.compiling import jit
from cnn_jax.training.features.identity import hardware, identities, of_layers
from cnn_jax.training.features.plan import Plan
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.run.processes import all_of_them, fail_together


def folder() -> Path:
    """Where features are cached."""
    return cache_folder() / "features"


@dataclass(frozen=True)
class Features:
    """The features of every image."""

    training: list[Float[np.ndarray, "n ..."] | Rows]
    """A view each."""
    validation: Float[np.ndarray, "m ..."] | Rows


class FeatureCache:
    """Finds the features of a plan in the cache folder, and computes the ones that are not there."""

    def __init__(self, plan: Plan, config: Config, model: Model, variables: Variables, mesh: Mesh) -> None:
        self._plan, self._config, self._model, self._mesh = plan, config, model, mesh
        self._resize = Resize.of(config.data, config.model.image_size)
        self._names = layer_names(model.layers[: plan.layers])
        self._variables = of_layers(self._names, variables)
        self._identities = identities(model, plan.layers, variables, self._resize)
        self._machine = [*hardware(), mesh.devices, mesh.processes, mesh.process]
        views = [View(config.data.augment, config.seed, i) for i in range(plan.views)]
        self._views: list[View | None] = [*views] or [None]
        """Of the training images; None: the images themselves."""
        self._runners: dict[int, Any] = {}
        """Programs by their first layer: all splits and views share them."""
        self._found, self._sources, self._not_kept = 0, set[str](), ""

    def has(self, splits: tuple[Split, Split]) -> bool:
        """Whether the cache folder has the features of training and validation, in every process."""
        training, validation = splits
        wanted = [(training, view) for view in self._views] + [(validation, None)]
        layers = self._plan.layers
        return all_of_them(all(self._store(layers, view).has(self._hashes(split, view)) for split, view in wanted))

    def load(
        self,
        splits: tuple[Split, Split],
        read: tuple[Split, Split],
        reporter: Reporter,
        stopped: Callable[[], bool],
    ) -> Features | None:
        """The features of both splits; None where `stopped` says that the user does not want to wait for them.

        Args:
            splits: training and validation.
            read: the same examples, decoded where their images are in memory.

        Raises:
            RunError: there is no room for them.
            DataError: an image cannot be read; the message names the file.
        """
        begun = time.perf_counter()
        training, validation = zip(splits, read, strict=True)
        jobs = [(training, view) for view in self._views] + [(validation, None)]
        found: list[Float[np.ndarray, "_ ..."] | Rows] = []
        with reporter.bar("features", sum(len(split) for (split, _), _ in jobs), "images") as bar:
            for (split, source), view in jobs:
                rows = self._of_split(split, source, view, lambda n: bar.advance(n, items=n), stopped)
                if rows is None:
                    return None
                found.append(rows)
            total = sum(len(rows) for rows in found)
        self._report(reporter, total, time.perf_counter() - begun)
        return Features(found[:-1], found[-1])

    def _report(self, reporter: Reporter, images: int, seconds: float) -> None:
        plan, size = self._plan, "x".join(map(str, self._plan.shape))
        of = f"{plan.views} augmented views of each image" if plan.views else "each image"
        where = "in memory" if plan.in_memory else f"in {folder()}"
        before = "all" if self._found == images else f"{self._found:,} of {images:,}"
        reporter.line(
            f"features   {of} cached as the output of {self._names[-1]} ({size} {plan.dtype}), "
            f"{plan.megabytes:,.0f} MB {where}, ready in {seconds:.1f} s"
            + (f", {before} from an earlier run or phase" if self._found else "")
            + (f", from those of {', '.join(sorted(self._sources))}" if self._sources else "")
        )
        if self._not_kept:
            reporter.line(f"           not kept for the next start: {self._not_kept}")

    def _of_split(
        self,
        split: Split,
        read: Split,
        view: View | None,
        progress: Callable[[int], None],
        stopped: Callable[[], bool],
    ) -> Float[np.ndarray, "n ..."] | Rows | None:
        names, store = self._hashes(split, view), self._store(self._plan.layers, view)
        kept: Float[np.ndarray, "n ..."] | None = None
        found: Rows | None = None
        if self._plan.in_memory:
            kept = np.empty((len(split), *self._plan.shape), numpy_dtype(self._plan.dtype))
            missing = store.read(names, kept)
        else:
            found, missing = store.rows(names)
        if not all_of_them(not len(missing)) and (self._mesh.processes > 1 or view is not None):
            missing = np.arange(len(split))  # all processes compute, and chance counts the images from the first
        self._found += len(split) - len(missing)
        progress(len(split) - len(missing))
        if len(missing) and not self._compute(read, names, missing, view, store, kept, progress, stopped):
            return None
        if kept is not None or not len(missing):
            return found if kept is None else kept
        rows, missing = store.rows(names)
        if len(missing):
            raise RunError(f"{folder()} lost features while they were written: start the same command again")
        return rows

    def _compute(
        self,
        split: Split,
        names: UInt8[np.ndarray, "n 32"],
        missing: Int64[np.ndarray, " m"],
        view: View | None,
        store: RowStore,
        kept: Float[np.ndarray, "n ..."] | None,
        progress: Callable[[int], None],
        stopped: Callable[[], bool],
    ) -> bool:
        """Compute the missing ones and keep them; False where `stopped`: what was computed until then is kept."""
        if kept is None:
            with fail_together():
                self._require_room(len(missing))
        done = 0
        with store.adding() as adding:
            for rows in self._rows(split.take(missing), names[missing], view):
                if stopped():
                    return False
                here = missing[done : done + len(rows)]
                adding.add(names[here], rows)
                if adding.error is not None and kept is None:
                    break
                if kept is not None:
                    kept[here] = rows
                done += len(rows)
                progress(len(rows))
        if adding.error is not None:
            self._not_kept = adding.reason
            if kept is None:
                raise RunError(f"the features cannot be written to {folder()}: {self._not_kept}. {_MEND}")
        return True

    def _require_room(self, images: int) -> None:
        needed = images * math.prod(self._plan.shape) * numpy_dtype(self._plan.dtype).itemsize
        try:
            make_room(folder(), needed, self._config.train.feature_disk_megabytes)
        except OSError as error:
            raise RunError(f"the folder {folder()} cannot be used for features: {error.strerror}. {_MEND}") from error

    def _rows(
        self, split: Split, names: UInt8[np.ndarray, "n 32"], view: View | None
    ) -> Iterable[Float[np.ndarray, "b ..."]]:
        """The features in the order of the split, batch by batch, from the images or from those of fewer layers."""
        size, mesh = self._config.data.eval_batch_size, self._mesh
        first, before = self._source(names, view)
        if before is None:
            parts = evaluation_batches(split, self._resize, size, mesh.process, mesh.processes, view)
        else:
            self._sources.add(self._names[first - 1])
            parts = evaluation_rows(before, split.labels, size, mesh.process, mesh.processes)
        if first not in self._runners:
            self._runners[first] = self._runner(first)
        run = self._runners[first]
        for batch in mesh.with_all_labels(parts):
            yield np.asarray(run(self._variables, mesh.put_batch(batch["image"])))[batch["mask"]]

    def _runner(self, first: int) -> Any:
        """The layers from `first` on, as one program."""
        model, mesh, dtype = self._model.part(first, self._plan.layers), self._mesh, self._plan.dtype
        return jit(
            lambda variables, inputs: model.outputs(variables, inputs, as_from_images=True).astype(dtype),
            in_shardings=(mesh.replicated, mesh.sharded),
            out_shardings=mesh.replicated,
        )

    def _source(self, names: UInt8[np.ndarray, "n 32"], view: View | None) -> tuple[int, Rows | None]:
        """Whole features of fewer layers for all of these images, and of how many; (0, None) without any.

        Only where features hold all digits of what the layers put out, so that going on from them changes nothing.
        """
        if self._plan.dtype not in ("float32", self._model.dtype) or self._mesh.processes > 1:
            return 0, None
        for layers in range(self._plan.layers - 1, 0, -1):
            store = self._store(layers, view)
            if store.has(names) and self._model.cut_before(layers) == layers:
                rows, missing = store.rows(names)
                if not len(missing):
                    return layers, rows
        return 0, None

    def _hashes(self, split: Split, view: View | None) -> UInt8[np.ndarray, "n 32"]:
        """What the features of each image are found by; augmented ones depend on the place of the image too."""
        found = split.images.hashes()
        if view is None:
            return found
        return as_array([sha256(row.tobytes() + i.to_bytes(8, "little")) for i, row in enumerate(found)])

    def _store(self, layers: int, view: View | None) -> RowStore:
        """Where the outputs of the first `layers` layers are."""
        plan, settings = self._plan, self._config.train
        drawn = None if view is None else asdict(view)
        size = self._config.data.eval_batch_size
        parts = [self._identities[layers], plan.dtype, drawn, size, self._machine]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        shape = self._model.output_shapes[self._names[layers - 1]].shape[1:]
        budget = settings.feature_disk_megabytes
        return RowStore(folder() / key, shape, numpy_dtype(plan.dtype), budget if plan.megabytes <= budget else 0)


_MEND = "Mend that, name another folder with CNN_JAX_CACHE, or go on with --train.feature_cache=off"
