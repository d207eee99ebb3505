"""The configuration of a run: frozen, validated data and nothing else.

Every field is also a command-line flag (`--model.alpha=0.5`); the text under a field is the flag's help.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from cnn_jax.validation import check_types, is_finite, require

ModelName = Literal["simple_cnn", "vgg16", "vgg19", "mobilenet", "mobilenet_v2"]
FillMode = Literal["nearest", "reflect", "constant", "wrap"]


@dataclass(frozen=True)
class ModelConfig:
    """The network and the weights that it starts from."""

    name: ModelName = "mobilenet"
    """The architecture."""
    alpha: float = 1.0
    """MobileNet: width multiplier of every layer (pretrained: 0.25, 0.5, 0.75, 1; v2: 0.35, 0.5, 0.75, 1, 1.3, 1.4)."""
    top: Literal["pool", "fc"] = "pool"
    """What lies between the convolutions and the classifier: `pool`, each channel's mean, or VGG's `fc1`, `fc2`."""
    image_size: int = 224
    """Rows and columns of the images that the network sees, in pixels."""
    weights: str = "imagenet"
    """`imagenet`, `none` (random), the path of a Keras .h5, .weights.h5 or .keras file, or of a run directory."""
    dropout: float = 0.001
    """Share of the features dropped before the classifier in training."""
    filters: tuple[int, ...] = (32, 64)
    """simple_cnn: filters of each convolution; a pooling follows each."""
    kernel_size: int = 3
    """simple_cnn: rows and columns of each filter."""
    strides: int = 1
    """simple_cnn: step of the convolutions, in pixels."""
    padding: Literal["same", "valid"] = "same"
    """simple_cnn: `same` pads with zeros so that stride 1 keeps the size; `valid` does not pad."""
    pool_size: int = 2
    """simple_cnn: rows and columns of the max-pooling window."""
    pool_strides: int = 2
    """simple_cnn: step of the max pooling, in pixels."""
    batch_norm: bool = False
    """simple_cnn: batch normalisation between each convolution, then without a bias, and its ReLU."""
    dense: tuple[int, ...] = ()
    """simple_cnn: widths of fully connected layers, each with ReLU, between the convolutions and the classifier."""

    def __post_init__(self) -> None:
        check_types(self, "model.")
        require(is_finite(self.alpha) and int(32 * self.alpha) >= 1, "model.alpha", self.alpha, "at least 1/32")
        require(self.image_size >= 1, "model.image_size", self.image_size, "at least 1")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(bool(self.weights), "model.weights", self.weights, "imagenet, none or a path")
        positive = bool(self.filters) and min(self.filters) >= 1
        require(positive, "model.filters", self.filters, "one or more positive numbers")
        require(min(self.dense, default=1) >= 1, "model.dense", self.dense, "positive numbers, or none")
        fits = self.top == "pool" or self.name in ("vgg16", "vgg19")
        require(fits, "model.top", self.top, f"pool for model.name={self.name}; vgg16 and vgg19 alone have fc")
        for name in ("kernel_size", "strides", "pool_size", "pool_strides"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to each training image, drawn anew at every visit; all off by default."""

    horizontal_flip: bool = False
    """Mirror left and right with probability 1/2."""
    rotation: float = 0.0
    """Turn by up to so many degrees either way."""
    width_shift: float = 0.0
    """Move left or right by up to this fraction of the width."""
    height_shift: float = 0.0
    """Move up or down by up to this fraction of the height."""
    shear: float = 0.0
    """Shear by up to so many degrees either way."""
    zoom: float = 0.0
    """Scale rows and columns, each on its own, by 1 - zoom to 1 + zoom."""
    fill_mode: FillMode = "nearest"
    """What fills the pixels that come from outside the image."""

    def __post_init__(self) -> None:
        check_types(self, "data.augment.")
        for name in ("rotation", "width_shift", "height_shift"):
            value = getattr(self, name)
            require(is_finite(value, or_equal=True), f"data.augment.{name}", value, "0 or more")
        require(0 <= self.shear < 90, "data.augment.shear", self.shear, "at least 0 and below 90 degrees")
        require(0 <= self.zoom < 1, "data.augment.zoom", self.zoom, "at least 0 and below 1")

    @property
    def is_geometric(self) -> bool:
        """Whether the images are resampled."""
        return any((self.horizontal_flip, self.rotation, self.width_shift, self.height_shift, self.shear, self.zoom))


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


@dataclass(frozen=True)
class OptimizerConfig:
    """How the trainable parameters follow their gradients."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "lamb"] = "adam"
    """The update rule."""
    learning_rate: float = 1e-4
    """Step size; the highest one where a schedule changes it."""
    schedule: Literal["constant", "cosine", "linear", "step", "exponential"] = "constant"
    """How the learning rate changes: down to `final_fraction` along a half cosine or a line, or by `decay_factor`
    every `decay_epochs`, at once (step) or little by little (exponential). It begins anew after `head_epochs`."""
    warmup_epochs: float = 0.0
    """Epochs in which the learning rate first rises from 0, in a line; the schedule takes what is left."""
    final_fraction: float = 0.0
    """cosine, linear: share of the learning rate at the end."""
    decay_factor: float = 0.1
    """step, exponential: what the learning rate is multiplied by every `decay_epochs`."""
    decay_epochs: float = 10.0
    """step, exponential: see `decay_factor`."""
    momentum: float | None = None
    """sgd, rmsprop: share of the last step that is kept; None is 0.9 for sgd and 0 for rmsprop."""
    nesterov: bool = False
    """sgd: look ahead along the momentum (Nesterov's form)."""
    beta_1: float = 0.9
    """adam, adamw, lamb: share of the running mean of the gradient that a step keeps."""
    beta_2: float = 0.999
    """adam, adamw, lamb: share of the running mean of the squared gradient that a step keeps."""
    rho: float = 0.9
    """rmsprop: the same."""
    epsilon: float = 1e-7
    """Added to the root of the second moment (Keras' value; PyTorch's and optax' is 1e-8)."""
    epsilon_form: Literal["keras", "paper"] = "keras"
    """adam, adamw: add epsilon before the bias of the second moment is corrected (keras) or after (paper, PyTorch)."""
    weight_decay: float | None = None
    """Share of a kernel, times the learning rate, that each step takes away; biases and batch norm are left alone.
    None is 0.004 for adamw (Keras' value), and 0 for the others."""
    clip_norm: float | None = None
    """Scale the gradient of the trainable parameters down to this norm where it is longer."""
    head_learning_rate_multiplier: float = 1.0
    """The classifier's learning rate, as a multiple of the others'."""
    layer_decay: float = 1.0
    """Multiplies a layer's learning rate once for each convolution between it and the classifier (1: no difference)."""
    microbatches: int = 1
    """Parts that a batch is run in, one after the other, with their gradients averaged: the memory of the smaller batch
    and, but for batch norm, which sees the parts, the update of the larger."""

    def __post_init__(self) -> None:
        check_types(self, "optimizer.")
        for name in ("learning_rate", "decay_epochs", "decay_factor", "epsilon", "head_learning_rate_multiplier"):
            require(is_finite(getattr(self, name)), f"optimizer.{name}", getattr(self, name), "above 0")
        for name in ("beta_1", "beta_2", "rho"):
            value = getattr(self, name)
            require(0 <= value < 1, f"optimizer.{name}", value, "at least 0 and below 1")
        for name in ("final_fraction", "decay_factor", "layer_decay"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"optimizer.{name}", value, "between 0 and 1")
        require(
            self.momentum is None or 0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "0 or more, below 1"
        )
        require(
            is_finite(self.warmup_epochs, or_equal=True), "optimizer.warmup_epochs", self.warmup_epochs, "0 or more"
        )
        decays = self.weight_decay is None or is_finite(self.weight_decay, or_equal=True)
        require(decays, "optimizer.weight_decay", self.weight_decay, "0 or more, or None")
        clips = self.clip_norm is None or is_finite(self.clip_norm)
        require(clips, "optimizer.clip_norm", self.clip_norm, "above 0, or None")
        require(self.microbatches >= 1, "optimizer.microbatches", self.microbatches, "at least 1")


@dataclass(frozen=True)
class TrainConfig:
    """How long to train, what, and against which loss."""

    epochs: int = 5
    """Passes over the training images (see `data.steps_per_epoch`), those of `head_epochs` included."""
    head_epochs: int = 0
    """The first so many epochs train the classifier alone; then the optimizer begins anew from `freeze_until`."""
    freeze_until: str = "none"
    """Layers before this one stay as loaded: a layer's name, `head` (only the classifier trains) or `none`."""
    frozen: tuple[str, ...] = ()
    """Also frozen: regular expressions that match a whole `layer/leaf`, such as `.*_bn/.*` or `conv1/kernel`."""
    feature_cache: Literal["auto", "on", "off"] = "auto"
    """Run the frozen layers once for each image and train the rest on what they gave. auto: where that changes nothing
    (no augmentation, or `feature_views`), pays, and fits `feature_memory_megabytes` + `feature_disk_megabytes`."""
    feature_views: int = 0
    """With augmentation: how many augmented views of each image to keep; epochs take them in turn. 0 keeps none."""
    feature_dtype: Literal["float32", "bfloat16"] = "float32"
    """In which the cached features are kept; bfloat16 takes half the memory and rounds to 3 digits."""
    feature_memory_megabytes: int = 2048
    """Features up to this size are kept in memory; larger ones in a file of the cache folder."""
    feature_disk_megabytes: int = 16384
    """Bound of all feature files in the cache folder; the ones unused for longest make room."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """In which activations are computed; parameters, statistics and the loss are float32 in any case."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Factor of each class' loss, in the order of the classes; `balanced` makes the classes count alike."""
    ema_decay: float | None = None
    """Share that a running mean of the parameters keeps at a step (such as 0.999); the mean is what is evaluated and
    exported. It begins lower, at (1 + steps) / (10 + steps). None: no running mean."""
    early_stopping_epochs: int | None = None
    """Stop after so many epochs without a better validation accuracy (or, where equal, loss). None: never."""
    tensorboard: bool = True
    """Write TensorBoard event files beside metrics.jsonl."""

    def __post_init__(self) -> None:
        check_types(self, "train.")
        require(self.epochs >= 1, "train.epochs", self.epochs, "at least 1")
        heads = f"between 0 and train.epochs={self.epochs}, which include them"
        require(0 <= self.head_epochs <= self.epochs, "train.head_epochs", self.head_epochs, heads)
        require(bool(self.freeze_until), "train.freeze_until", self.freeze_until, "none, head or a layer's name")
        for name in ("feature_views", "feature_memory_megabytes", "feature_disk_megabytes"):
            require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        smooth = self.label_smoothing
        require(0 <= smooth < 1, "train.label_smoothing", smooth, "at least 0 and below 1")
        weights = self.class_weights
        numbers = not isinstance(weights, tuple) or (bool(weights) and all(is_finite(weight) for weight in weights))
        require(numbers, "train.class_weights", weights, "balanced, or a number above 0 for each class")
        ema = self.ema_decay
        require(ema is None or 0 < ema < 1, "train.ema_decay", ema, "above 0 and below 1, or None")
        patience = self.early_stopping_epochs
        require(patience is None or patience >= 1, "train.early_stopping_epochs", patience, "at least 1, or None")


@dataclass(frozen=True)
class CheckpointConfig:
    """When the run is saved, besides its end and the epochs that are the best so far."""

    every_epochs: int = 1
    """Save after every so many epochs."""
    every_steps: int | None = None
    """Also save after every so many steps, in the middle of epochs."""
    every_minutes: float | None = None
    """Also save when so many minutes have passed since the last time."""
    keep: int = 2
    """How many of the newest are kept; the best is kept in any case, and never in the place of the newest."""

    def __post_init__(self) -> None:
        check_types(self, "checkpoint.")
        require(self.every_epochs >= 1, "checkpoint.every_epochs", self.every_epochs, "at least 1")
        steps, minutes = self.every_steps, self.every_minutes
        require(steps is None or steps >= 1, "checkpoint.every_steps", steps, "at least 1, or None")
        require(minutes is None or is_finite(minutes), "checkpoint.every_minutes", minutes, "above 0, or None")
        require(self.keep >= 1, "checkpoint.keep", self.keep, "at least 1")


@dataclass(frozen=True)
class Config:
    """A run: what `--exp` names, after the flags."""

    name: str = "run"
    """Name of the experiment; the run directory is runs/NAME unless --workdir says otherwise."""
    seed: int = 0
    """Fixes the initial weights, the split, the order of the images, their augmentation and dropout."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        check_types(self, "")
        plain = bool(self.name) and self.name not in (".", "..") and not any(c in self.name for c in "/\\\0\n")
        require(plain, "name", self.name, "usable as a folder's name, without slashes")
        require(0 <= self.seed < 2**31, "seed", self.seed, "at least 0 and below 2**31")
        parts, size = self.optimizer.microbatches, self.data.batch_size
        divides = f"a divisor of data.batch_size={size}"
        require(size % parts == 0, "optimizer.microbatches", parts, divides)


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """The fields in which two configurations differ, as `field: old -> new`."""
    lines = []
    for item in dataclasses.fields(old):
        before, after = getattr(old, item.name), getattr(new, item.name)
        if dataclasses.is_dataclass(before):
            lines += differences(before, after, f"{prefix}{item.name}.")
        elif before != after:
            lines.append(f"{prefix}{item.name}: {before!r} -> {after!r}")
    return lines
