"""What the augmentation of a run does to photographs."""

from cnn_jax.data.preview import preview
from cnn_jax.data.sources import Split
from cnn_jax.report import pictures
from cnn_jax.report.pictures import Picture
from cnn_jax.training.runs import TrainedRun

ROWS, VERSIONS = 4, 5
SIDE = 1000
"""Pixels of the longer side of the picture."""


def augmentation(run: TrainedRun, examples: Split) -> Picture | None:
    """Some examples, and to the right of each how training would have seen it; None where nothing is augmented."""
    config = run.config.data.augment
    if not (config.changes_images or config.mixes):
        return None
    grid = preview(examples, run.model.image_size, config, run.config.seed, ROWS, VERSIONS)
    return pictures.picture(grid, SIDE, enlarged=run.model.image_size < pictures.SMALL)
