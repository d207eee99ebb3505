"""The images, as configured."""

import math
from dataclasses import dataclass, field
from typing import Literal

from cnn_jax.config.augment import AugmentConfig
from cnn_jax.config.validation import check_types, require

Background = Literal["white", "black", "drop"]
"""What shows through transparent pixels: a colour, or with "drop" the one that is stored there, as in Keras."""

DATASET_FORMS = "folder:DIR, flat:DIR, csv:FILE, tfds:NAME, digits or shapes"


@dataclass(frozen=True)
class CsvConfig:
    """`csv:FILE`, a table of images and their classes: which of its columns are which."""

    path: str | None = None
    """Name of the column with the images, or its number where there is no header; None finds it."""
    label: str | None = None
    """Of the column with the classes; None finds it."""
    split: str | None = None
    """Of the column with train, validation or test; None takes one that is called split, if it has nothing else."""
    root: str | None = None
    """The folder that paths in the table are relative to; None is the table's own."""
    delimiter: str | None = None
    """Between fields; None finds it."""

    def __post_init__(self) -> None:
        check_types(self, "data.csv.")
        for name in ("path", "label", "split", "root"):
            require(getattr(self, name) != "", f"data.csv.{name}", getattr(self, name), "a name, or None")
        single = self.delimiter is None or (len(self.delimiter) == 1 and self.delimiter not in '"\r\n')
        require(single, "data.csv.delimiter", self.delimiter, "one character, such as ';', or None")


@dataclass(frozen=True)
class DataConfig:
    """The images, and how they are fed."""

    dataset: str = "tfds:cats_vs_dogs"
    """`folder:DIR` (a folder for each class), `flat:DIR` (the class is the start of each name, as in cat.0.jpg),
    `csv:FILE` (a table of images and classes), `tfds:NAME[:CONFIG]`, `digits` (scikit-learn's) or `shapes` (drawn as
    they are needed)."""
    batch_size: int = 32
    """Images in a training step, over all devices."""
    eval_batch_size: int = 64
    """Images in an evaluation step, over all devices; the results do not depend on it."""
    steps_per_epoch: int | None = None
    """Training steps in an epoch; None is a full pass over the training images."""
    split: tuple[float, float, float] = (0.8, 0.2, 0.0)
    """Shares of train, validation and test where the data set does not come split; drawn by `seed`, class by class."""
    classes: tuple[str, ...] | None = None
    """The classes to use, in this order; None is all of them, in the order of `class_order`."""
    class_order: Literal["characters", "natural"] = "characters"
    """Of all classes: `characters` is Keras' order (1, 10, 2), `natural` counts the numbers in names (1, 2, 10)."""
    exclude: str | None = None
    """A text file that names an image a line, absolute or relative to the data set's folder: those are left out."""
    separator: str = "."
    """`flat:` what ends the class in the name of a file."""
    separator_at: Literal["first", "last"] = "first"
    """`flat:` which of several separators ends the class: `last` where names of classes hold it (great_dane_12.jpg)."""
    shapes_examples: int = 1200
    """`shapes`: how many images there are, over all classes."""
    shapes_size: int = 64
    """`shapes`: rows and columns in which they are drawn, in pixels."""
    shapes_seed: int = 0
    """`shapes`: fixes the pictures; `seed` draws the splits."""
    resize: Literal["squash", "crop", "pad"] = "squash"
    """How an image becomes as large as the network's: `squash` changes its proportions, `crop` takes the largest part
    in its middle that has the right ones, `pad` keeps all of it, with black beside it."""
    interpolation: Literal["bilinear", "nearest", "bicubic"] = "bilinear"
    """How pixels are made up in resizing."""
    antialias: bool = False
    """Average over all pixels that become one where an image gets smaller, as Pillow does; Keras' data sets do not."""
    background: Background = "white"
    """What shows through transparent pixels, as on a screen; `drop` shows what is stored there, as Keras does."""
    unreadable: Literal["error", "skip"] = "error"
    """What to do about image files that cannot be read: stop and name the first, or find all first and go on."""
    memory_megabytes: int = 2048
    """Splits that fit into this, as resized images, are decoded once and kept; 0 decodes every image at every visit."""
    disk_megabytes: int = 8192
    """Bound of the resized images that are kept in the cache folder for the next start; 0 keeps none. The ones unused
    for longest make room."""
    device_memory_share: float = 0.5
    """Training images, or cached features, that fit into this share of the memory of the GPUs or TPUs are put there
    once, and several steps run in one call; otherwise each step gets its batch from the host. 0: always. On CPU,
    features of up to 256 MB are treated so."""
    data_dir: str | None = None
    """`tfds:` the folder of the prepared data sets; None is TFDS' default."""
    csv: CsvConfig = field(default_factory=CsvConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_types(self, "data.")
        require(bool(self.dataset), "data.dataset", self.dataset, DATASET_FORMS)
        require(self.batch_size >= 1, "data.batch_size", self.batch_size, "at least 1")
        alone = self.batch_size == 1 and self.augment.mixes
        require(not alone, "data.batch_size", self.batch_size, "at least 2 where images are mixed (mixup, cutmix)")
        require(self.eval_batch_size >= 1, "data.eval_batch_size", self.eval_batch_size, "at least 1")
        require(self.exclude != "", "data.exclude", self.exclude, "the path of a text file, or None")
        require(bool(self.separator), "data.separator", self.separator, "one or more characters")
        require(self.shapes_examples >= 1, "data.shapes_examples", self.shapes_examples, "at least 1")
        require(8 <= self.shapes_size <= 4096, "data.shapes_size", self.shapes_size, "from 8 to 4096")
        require(0 <= self.shapes_seed < 2**31, "data.shapes_seed", self.shapes_seed, "at least 0 and below 2**31")
        for name in ("memory_megabytes", "disk_megabytes"):
            require(getattr(self, name) >= 0, f"data.{name}", getattr(self, name), "0 or more")
        share = self.device_memory_share
        require(0 <= share <= 1, "data.device_memory_share", share, "between 0 and 1")
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
