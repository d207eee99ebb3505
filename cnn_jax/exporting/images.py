"""The run's own images for an export: those that int8 ranges are measured on, and those that files are checked on."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data import sources
from cnn_jax.data.sources import Dataset, Split
from cnn_jax.data.sources.images import ResizedImages
from cnn_jax.data.stream import in_memory
from cnn_jax.errors import ConfigError
from cnn_jax.training.run_evaluation import measured_on, open_data
from cnn_jax.training.trained_run import TrainedRun

TRAIN = "train"


@dataclass(frozen=True)
class RunImages:
    """The splits of a run, with labels that count in its classes."""

    run: TrainedRun
    dataset: Dataset
    seed: int

    @classmethod
    def of(cls, run: TrainedRun, dataset: str | None, seed: int) -> "RunImages":
        """Open them.

        Args:
            dataset: where the run's data set lies now; None is where it was.
            seed: draws which images are taken, where not all are.

        Raises:
            UserError: they are gone, or others.
        """
        if dataset is not None:
            run = replace(run, config=replace(run.config, data=replace(run.config.data, dataset=dataset)))
        return cls(run, sources.align_classes(open_data(run), run.classes, str(run.directory)), seed)

    def to_check(self, count: int) -> tuple[str, Split]:
        """The name of the split that a run is evaluated on, and at most `count` examples of it, as pixels in memory."""
        name = measured_on(self.dataset, self.run)
        return name, self._drawn(name, count)

    def to_calibrate(self, count: int) -> UInt8[np.ndarray, "n h w 3"]:
        """At most `count` images that the run was trained on, and none that it is measured on."""
        if TRAIN not in self.dataset.splits:
            raise ConfigError(f"--format=litert-int8 measures ranges on training images: {self.dataset.name} has none")
        images = self._drawn(TRAIN, count).images
        assert isinstance(images, ResizedImages)
        return images.pixels

    def _drawn(self, name: str, count: int) -> Split:
        """Examples drawn by the seed, in the order of the split, decoded and resized."""
        split = self.dataset.splits[name]
        if len(split) > count:
            rng = np.random.default_rng([self.seed, len(name)])
            split = split.take(np.sort(rng.permutation(len(split))[:count]))
        config = self.run.config
        size = len(split) * math.prod(self.run.resize.shape)
        return in_memory(split, self.run.resize, size, config.data.disk_megabytes)
