"""The training step and the prediction step: pure functions, compiled once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32, Key, UInt8

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.device import augment_batch, example_keys
from cnn_jax.data.mixing import Mixed, mix
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Inputs, Model
from cnn_jax.runtime.compiling import jit
from cnn_jax.training.freezing import Freezing, Layers, merge
from cnn_jax.training.loss import distillation_losses, mixed_losses
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.state import TrainState, moving

Report = dict[str, Float32[Array, ""]]
"""`loss`, the mean over the batch, and `gradient_norm`, over the trainable parameters."""
TrainStep = Callable[..., tuple[TrainState, Report]]
BatchResult = tuple[Layers, Layers, Float32[Array, ""], Int32[Array, ""]]
"""Gradients, new batch statistics, the sum of the losses, and how many are right."""
Predict = Callable[[Variables, Inputs], Float32[Array, "b classes"]]

MIXING = 0x6D6978
"""Tells the random numbers of mixing from those of dropout, whose keys count the microbatches from 0."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes to images inside the step. Which visit of an image it is follows from the number of the step."""

    config: AugmentConfig
    steps_per_pass: int
    """Over the training images."""

    def __call__(
        self, key: Key[Array, ""], step: Int32[Array, ""], images: UInt8[Array, "b h w 3"]
    ) -> UInt8[Array, "b h w 3"]:
        """The images, changed; `key` is the run's, `step` is counted from 0 over the run."""
        place = step % self.steps_per_pass * len(images) + jnp.arange(len(images))
        return augment_batch(images, example_keys(key, step // self.steps_per_pass, place), self.config)


@dataclass(frozen=True)
class Distillation:
    """How a step learns from a teacher, too."""

    temperature: float
    weight: float
    """The teacher's share of the loss."""
    teacher: Model | None = None
    """It runs inside the step, which takes its variables; None: the step takes its logits."""
    order: tuple[int, ...] = ()
    """For each class, its place among the classes of a teacher inside the step."""

    def logits(self, taught: Any, images: Inputs) -> Float32[Array, "b classes"]:
        """The teacher's logits of images, resized to what it takes; `taught` as the step takes it."""
        if self.teacher is None:
            return taught
        shape = (len(images), *self.teacher.image_shape)
        if images.shape != shape:
            images = jax.image.resize(images.astype(jnp.float32), shape, "linear")
        return self.teacher.logits(taught, images)[:, jnp.asarray(self.order)]


@dataclass(frozen=True)
class StepOptions:
    """How a step computes its loss and update, besides the optimizer."""

    label_smoothing: float = 0.0
    focal_gamma: float | None = None
    """Of the focal loss; None: cross-entropy."""
    class_weights: Float32[Array, " classes"] | None = None
    microbatches: int = 1
    """Parts that the batch is run in, one after the other."""
    ema_decay: float | None = None
    mixing: AugmentConfig = field(default_factory=AugmentConfig)
    """How the images of a batch are mixed (`mixup`, `cutmix`); the other fields do nothing here."""
    augmentation: Augmentation | None = None
    """What the step does to its images first; None: they come as they should be."""
    distillation: Distillation | None = None
    """What it learns from a teacher; None: nothing."""


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    freezing: Freezing,
    mesh: Mesh,
    options: StepOptions = StepOptions(),
) -> Any:
    """`train_step`, jitted. The state is donated: the one passed in cannot be used again."""
    distillation = options.distillation
    taught = [] if distillation is None else [mesh.replicated if distillation.teacher else mesh.sharded]
    return jit(
        train_step(model, optimizer, freezing, options),
        donate_argnums=0,
        in_shardings=(mesh.replicated, mesh.sharded, mesh.sharded, *taught),
        out_shardings=(mesh.replicated, mesh.replicated),
    )


def train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    freezing: Freezing,
    options: StepOptions = StepOptions(),
) -> TrainStep:
    """The function (state, inputs, labels) to (next state, report); with a teacher, it takes one more.

    That is the teacher's logits float32[b, classes], or where it runs inside the step, its variables.

    Inputs are images uint8[b, h, w, 3], or activations where `model` is the end part of one. It differentiates with
    respect to the trainable parameters only, so frozen ones cost no backward pass.

    Augmentation, dropout and mixing draw from keys that follow from the run's and the number of the step. Where images
    are mixed, one counts as right if the network names the label with the larger share.
    """
    first, update = freezing.prefix(model), optax.with_extra_args_support(optimizer).update
    frozen_start, rest = model.part(0, first), model.part(first)

    distillation = options.distillation

    def part_gradients(
        state: TrainState, batch_stats: Layers, batch: Mixed, key: Key[Array, ""], taught: Any
    ) -> BatchResult:
        """The sums of one part of the batch."""
        trainable, frozen = freezing.split(state.params)
        variables = {"params": state.params, "batch_stats": batch_stats}
        inputs = frozen_start.outputs(variables, batch.images) if frozen_start.layers else batch.images

        teacher = None if distillation is None else distillation.logits(taught, batch.images)

        def mean_loss(trainable: Layers) -> tuple[Float32[Array, ""], tuple[Float32[Array, "b classes"], Layers]]:
            variables = {"params": merge(frozen, trainable), "batch_stats": batch_stats}
            logits, moved = rest.train_logits(variables, inputs, key, freezing.inference_layers)
            values = mixed_losses(logits, batch, options.label_smoothing, options.class_weights, options.focal_gamma)
            if distillation is not None and teacher is not None:
                distances = distillation_losses(logits, teacher, distillation.temperature)
                values = (1 - distillation.weight) * values + distillation.weight * distances
            return values.mean(), (logits, moved)

        (loss, (logits, moved)), gradients = jax.value_and_grad(mean_loss, has_aux=True)(trainable)
        right = (logits.argmax(-1) == batch.main_labels).sum(dtype=jnp.int32)
        return gradients, moved, loss * batch.labels.size, right

    def batch_gradients(state: TrainState, inputs: Inputs, labels: Int32[Array, " b"], taught: Any) -> BatchResult:
        """The same of the whole batch: the mean of the parts' gradients."""
        of_run = jax.random.wrap_key_data(state.settings.key)
        key = jax.random.fold_in(of_run, state.step)
        if options.augmentation is not None:
            inputs = options.augmentation(of_run, state.step, inputs)
        batch = mix(inputs, labels, jax.random.fold_in(key, MIXING), options.mixing)
        if options.microbatches == 1:
            return part_gradients(state, state.batch_stats, batch, key, taught)
        inside = distillation is not None and distillation.teacher is not None  # otherwise each part has its logits

        def of_part(batch_stats: Layers, part: Mixed, rows: Any, key: Key[Array, ""]) -> BatchResult:
            return part_gradients(state, batch_stats, part, key, taught if inside else rows)

        return _over_parts(of_part, options.microbatches, state.batch_stats, (batch, None if inside else taught), key)

    def step(
        state: TrainState, inputs: Inputs, labels: Int32[Array, " b"], taught: Any = None
    ) -> tuple[TrainState, Report]:
        trainable, _ = freezing.split(state.params)
        with model.products():
            gradients, batch_stats, loss, right = batch_gradients(state, inputs, labels, taught)
        updates, opt_state = update(gradients, state.opt_state, trainable, schedule=state.settings.schedule)
        params = merge(state.params, optax.apply_updates(trainable, updates))
        norm = optax.tree.norm(gradients)
        totals = state.totals.plus(loss, right, labels.size, norm)
        after = replace(
            state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state, totals=totals
        )
        if options.ema_decay is not None:
            after = replace(after, average=_move_average(after, options.ema_decay, freezing))
        return after, {"loss": loss / labels.size, "gradient_norm": norm}

    return step


def _over_parts(
    gradients: Callable[[Layers, Mixed, Any, Key[Array, ""]], BatchResult],
    parts: int,
    batch_stats: Layers,
    batch: tuple[Mixed, Any],
    key: Key[Array, ""],
) -> BatchResult:
    """What `gradients` gives of a batch, and of the teacher's rows of it, from one part after the other."""

    def one_part(batch_stats: Layers, part: tuple[tuple[Mixed, Any], Key[Array, ""]]) -> tuple[Layers, Any]:
        (mixed, rows), key = part
        of_part, moved, *sums = gradients(batch_stats, mixed, rows, key)
        return moved, (of_part, *sums)

    # part i takes every parts-th example, so that the parts of a sharded batch lie on all devices
    batches = jax.tree.map(lambda a: jnp.moveaxis(a.reshape(-1, parts, *a.shape[1:]), 1, 0), batch)
    moved, (of_parts, loss, right) = jax.lax.scan(one_part, batch_stats, (batches, jax.random.split(key, parts)))
    return jax.tree.map(lambda g: g.mean(0), of_parts), moved, loss.sum(), right.sum(dtype=jnp.int32)


def _move_average(state: TrainState, decay: float, freezing: Freezing) -> Variables:
    """The running mean after a step; it keeps less while it is young, as TensorFlow's with `num_updates`."""
    kept = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    values = moving(state.variables, freezing)
    return jax.tree.map(lambda average, value: kept * average + (1 - kept) * value, state.average, values)


def make_predict(model: Model, mesh: Mesh) -> Predict:
    """The function (variables, inputs) to logits float32[b, classes]; inputs as for `make_train_step`."""
    return jit(model.logits, in_shardings=(mesh.replicated, mesh.sharded), out_shardings=mesh.replicated)
