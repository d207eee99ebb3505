"""The images, as configured."""

import math
from dataclasses import dataclass, field
from typing import Literal

from cnn_jax.config.augment import AugmentConfig
from cnn_jax.validation import check_types, require


@dataclass(frozen=True)
class DataConfig:
    """The images, and how they are fed."""

    dataset: str = "tfds:cats_vs_dogs"
    """`folder:DIR`, `tfds:NAME[:CONFIG]` or `digits` (scikit-learn's)."""
    batch_size: int = 32
    """Images in a training step, over all devices."""
    eval_batch_size: int = 64
    """Images in an evaluation step, over all devices; the results do not depend on it."""
    steps_per_epoch: int | None = None
    """Training steps in an epoch; None is a full pass over the training images."""
    split: tuple[float, float, float] = (0.8, 0.2, 0.0)
    """Shares of train, validation and test where the data set does not come split; drawn by `seed`, class by class."""
    classes: tuple[str, ...] | None = None
    """The classes to use, in this order; None is all of them in alphabetical order."""
    unreadable: Literal["error", "skip"] = "error"
    """What to do about image files that cannot be read: stop and name the first, or find all first and go on."""
    memory_megabytes: int = 2048
    """Splits that fit into this, as resized images, are decoded once and kept; 0 decodes every image at every visit."""
    data_dir: str | None = None
    """`tfds:` the folder of the prepared data sets; None is TFDS' default."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_types(self, "data.")
        require(bool(self.dataset), "data.dataset", self.dataset, "folder:DIR, tfds:NAME or digits")
        require(self.batch_size >= 1, "data.batch_size", self.batch_size, "at least 1")
        alone = self.batch_size == 1 and self.augment.mixes
        require(not alone, "data.batch_size", self.batch_size, "at least 2 where images are mixed (mixup, cutmix)")
        require(self.eval_batch_size >= 1, "data.eval_batch_size", self.eval_batch_size, "at least 1")
        require(self.memory_megabytes >= 0, "data.memory_megabytes", self.memory_megabytes, "0 or more")
        steps = self.steps_per_epoch
        require(steps is None or steps >= 1, "data.steps_per_epoch", steps, "at least 1, or None for a full pass")
        shares = len(self.split) == 3 and all(0 <= share <= 1 for share in self.split)
        require(
            shares and math.isclose(sum(self.split), 1) and self.split[0] > 0,
            "data.split",
            self.split,
            "three shares (train, validation, test) that add up to 1, with some for train",
        )
        classes = self.classes
        distinct = classes is None or (len(classes) >= 2 and len(set(classes)) == len(classes))
        require(distinct, "data.classes", classes, "two or more different names")
