"""Optimizer, length, freezing and checkpoints, as configured."""

from dataclasses import dataclass
from typing import Literal

from cnn_jax.config.validation import check_types, is_finite, require


@dataclass(frozen=True)
class OptimizerConfig:
    """How the trainable parameters follow their gradients."""

    name: Literal["adam", "adamw", "sgd", "rmsprop", "lamb", "lbfgs"] = "adam"
    """The update rule. lbfgs takes no steps: it solves the classifier alone to its optimum, in one epoch."""
    learning_rate: float = 1e-4
    """Step size; the highest one where a schedule changes it."""
    schedule: Literal["constant", "cosine", "linear", "step", "exponential", "plateau"] = "constant"
    """How the learning rate changes: down to `final_fraction` along a half cosine or a line, or by `decay_factor`
    every `decay_epochs`, at once (step) or little by little (exponential), or where the validation loss has not fallen
    for `plateau_epochs` (plateau). It begins anew after `head_epochs`."""
    warmup_epochs: float = 0.0
    """Epochs in which the learning rate first rises from 0, in a line; the schedule takes what is left."""
    final_fraction: float = 0.0
    """cosine, linear: share of the learning rate at the end; plateau: the least one."""
    decay_factor: float = 0.1
    """step, exponential, plateau: what the learning rate is multiplied by."""
    decay_epochs: float = 10.0
    """step, exponential: after how many epochs it is multiplied by `decay_factor`."""
    plateau_epochs: int = 10
    """plateau: epochs without a validation loss that is lower by 1e-4 (Keras' `patience` and `min_delta`)."""
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
    """The learning rate of the new head, as a multiple of the others'."""
    layer_decay: float = 1.0
    """Multiplies a layer's learning rate once for each convolution between it and the classifier (1: no difference)."""
    microbatches: int = 1
    """Parts that a batch is run in, one after the other, with their gradients averaged: the memory of the smaller batch
    and, but for batch norm, which sees the parts, the update of the larger."""
    head_name: Literal["same", "lbfgs"] = "same"
    """The rule of `train.head_epochs`: that of `name`, or lbfgs, which solves the classifier in one epoch."""
    l2: float | None = None
    """lbfgs: factor of half the sum of the classifier's squared kernel in the loss (scikit-learn's C is 1 / (l2 n)).
    None: what is best for a fifth of the training images, held out for that."""

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
        require(self.plateau_epochs >= 1, "optimizer.plateau_epochs", self.plateau_epochs, "at least 1")
        require(self.microbatches >= 1, "optimizer.microbatches", self.microbatches, "at least 1")
        solves = "lbfgs" in (self.name, self.head_name)
        l2 = "above 0, or None; only lbfgs has it, the others have optimizer.weight_decay"
        require(self.l2 is None or (solves and is_finite(self.l2)), "optimizer.l2", self.l2, l2)


@dataclass(frozen=True)
class TrainConfig:
    """How long to train, what, and against which loss."""

    epochs: int = 5
    """Passes over the training images (see `data.steps_per_epoch`), those of `head_epochs` included."""
    head_epochs: int = 0
    """The first so many epochs train the classifier alone; then the optimizer begins anew from `freeze_until`."""
    freeze_until: str = "none"
    """Layers before this one stay as loaded: a layer's name, `head` (only the new head trains) or `none`."""
    frozen: tuple[str, ...] = ()
    """Also frozen: regular expressions that match a whole `layer/leaf`, such as `.*_bn/.*` or `conv1/kernel`."""
    feature_cache: Literal["auto", "on", "off"] = "auto"
    """Run the frozen layers once for each image and train the rest on what they gave. auto: where that changes nothing
    (no augmentation, or `feature_views`), pays, and fits `feature_memory_megabytes` + `feature_disk_megabytes`."""
    feature_views: int = 0
    """With augmentation: how many augmented views of each image to keep; epochs take them in turn. 0 keeps none."""
    feature_dtype: Literal["float32", "bfloat16"] = "float32"
    """In which features are cached; bfloat16 takes half the memory and rounds to 3 digits."""
    feature_memory_megabytes: int = 2048
    """Features up to this size are kept in memory; larger ones in a file of the cache folder."""
    feature_disk_megabytes: int = 16384
    """Bound of all feature files in the cache folder; the ones unused for longest make room."""
    precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """In which activations are computed; parameters, statistics and the loss are float32 in any case. tensorfloat32: on
    GPUs and TPUs, products of float32 lose digits (13 bits of 23) and gain speed; on CPU it is float32."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """What is trained against. focal: images that are told well already count less (Lin et al., 2017)."""
    focal_gamma: float = 2.0
    """focal: the power of the share that is missing to certainty, by which a loss is multiplied; 0 is cross-entropy."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    class_weights: Literal["balanced", "effective"] | tuple[float, ...] | None = None
    """Factor of each class' loss, in the order of the classes; `balanced` makes the classes count alike, `effective`
    only as far as their images are few (Cui et al., 2019, with beta 0.999)."""
    ema_decay: float | None = None
    """Share that a running mean of the parameters keeps at a step (such as 0.999); the mean is what is evaluated and
    exported. It begins lower, at (1 + steps) / (10 + steps). None: no running mean."""
    quantize: Literal["int8"] | None = None
    """int8: the last epoch trains with the rounding of int8, so that `export --format=litert-int8` loses less. It keeps
    the statistics of batch norm, trains what `freeze_until` leaves, and the best epoch is among those with rounding."""
    quantize_epochs: int = 1
    """quantize: how many of the last epochs."""
    quantize_learning_rate_multiplier: float = 0.1
    """quantize: their learning rate, as a multiple of `optimizer.learning_rate`; with all of it weights run away."""
    teacher: str | None = None
    """A run, a checkpoint or a Keras model for the same classes, from whose probabilities this network learns too
    (knowledge distillation; Hinton et al., 2015)."""
    distillation_temperature: float = 4.0
    """teacher: what the logits of both are divided by before they are compared; higher: the small ones count more."""
    distillation_weight: float = 0.9
    """teacher: its share of the loss, (1 - weight) * loss + weight * temperature² * KL divergence (Tian et al., 2020,
    have 0.9 and a temperature of 4)."""
    early_stopping_epochs: int | None = None
    """Stop after so many epochs without a better validation accuracy (or, where equal, loss). None: never."""
    tensorboard: bool = True
    """Write TensorBoard event files beside metrics.jsonl."""
    trackers: tuple[Literal["mlflow", "wandb"], ...] = ()
    """Show the run in MLflow or Weights & Biases, too; their own variables say where (docs/training.md)."""

    def __post_init__(self) -> None:
        check_types(self, "train.")
        require(self.epochs >= 1, "train.epochs", self.epochs, "at least 1")
        heads = f"between 0 and train.epochs={self.epochs}, which include them"
        require(0 <= self.head_epochs <= self.epochs, "train.head_epochs", self.head_epochs, heads)
        require(bool(self.freeze_until), "train.freeze_until", self.freeze_until, "none, head or a layer's name")
        for name in ("feature_views", "feature_memory_megabytes", "feature_disk_megabytes"):
            require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        require(is_finite(self.focal_gamma, or_equal=True), "train.focal_gamma", self.focal_gamma, "0 or more")
        smooth = self.label_smoothing
        require(0 <= smooth < 1, "train.label_smoothing", smooth, "at least 0 and below 1")
        weights = self.class_weights
        numbers = not isinstance(weights, tuple) or (bool(weights) and all(is_finite(weight) for weight in weights))
        require(numbers, "train.class_weights", weights, "balanced, effective, or a number above 0 for each class")
        rest = self.epochs - self.head_epochs
        rounded = f"between 1 and {rest}, which train.epochs={self.epochs} has after train.head_epochs"
        enough = self.quantize is None or 1 <= self.quantize_epochs <= rest
        require(enough and self.quantize_epochs >= 1, "train.quantize_epochs", self.quantize_epochs, rounded)
        factor = self.quantize_learning_rate_multiplier
        require(is_finite(factor), "train.quantize_learning_rate_multiplier", factor, "above 0")
        for name in ("ema_decay", "early_stopping_epochs"):
            value = getattr(self, name)
            alone = "None with train.quantize, whose epochs are the last and few"
            require(self.quantize is None or value is None, f"train.{name}", value, alone)
        views = "0 with train.teacher, which is asked of the images themselves or inside the step"
        require(self.teacher is None or not self.feature_views, "train.feature_views", self.feature_views, views)
        require(self.teacher != "", "train.teacher", self.teacher, "a run or a Keras model, or None")
        heat, share = self.distillation_temperature, self.distillation_weight
        require(is_finite(heat), "train.distillation_temperature", heat, "above 0")
        require(0 <= share <= 1, "train.distillation_weight", share, "between 0 and 1")
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
