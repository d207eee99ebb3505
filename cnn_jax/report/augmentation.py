"""What the augmentation of a run does to photographs."""

from dataclasses import dataclass

from cnn_jax.data.preview import spread, versions
from cnn_jax.data.sources import Split
from cnn_jax.report import pictures
from cnn_jax.report.pictures import Picture
from cnn_jax.training.trained_run import TrainedRun

ROWS, VERSIONS = 4, 5
SIDE = 128
"""Pixels of the longer side of a picture."""


@dataclass(frozen=True)
class Augmented:
    """A photograph as it is, and as training would have seen it at several visits."""

    id: str
    original: Picture
    versions: tuple[Picture, ...]


def augmentation(run: TrainedRun, examples: Split) -> tuple[Augmented, ...]:
    """Some of the examples; none where nothing is augmented."""
    config = run.config.data.augment
    if not (config.changes_images or config.mixes):
        return ()
    shown = spread(examples, ROWS)
    images = versions(shown, run.resize, config, run.config.seed, VERSIONS)
    rows = ([pictures.picture(image, SIDE) for image in row] for row in images)
    return tuple(Augmented(id_, row[0], tuple(row[1:])) for id_, row in zip(shown.ids, rows, strict=True))
