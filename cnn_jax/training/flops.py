"""The work of training steps: of the compiled one, and of one of the whole network to hold it against."""

import functools
import hashlib
import json
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from cnn_jax.io.files import cache_folder, parse_json
from cnn_jax.io.writing import write_atomically
from cnn_jax.models.chain import IMAGES, Variables, sources
from cnn_jax.models.layers import Conv
from cnn_jax.models.model import Model
from cnn_jax.models.ops.convolution import has_fast_form, plain_conv
from cnn_jax.models.ops.shifts import explicit_pads
from cnn_jax.models.ops.winograd import winograd_conv
from cnn_jax.models.parts import part_size
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.optimizer import make_optimizer
from cnn_jax.training.schedule import make_schedule
from cnn_jax.training.setup import Job
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import make_train_step


def compiled_step(
    model: Model,
    freezing: Freezing,
    variables: Variables,
    compiled: Any,
    inputs: Any,
    microbatches: int = 1,
    teacher: tuple[Model, Variables] | None = None,
) -> float | None:
    """Floating-point operations of a compiled step on one device.

    XLA counts the body of a loop once. So what it counts is the first of the microbatches, and of that the first of
    the parts that the frozen start, or a teacher inside the step, runs in (`models.parts`); the others are added.

    Args:
        model: the model of the step, which takes such `inputs`, a batch or its shape; `variables` has at least its own.
        teacher: the one inside the step.
    """
    counted = (compiled.cost_analysis() or {}).get("flops")
    if not counted:
        return None
    batch, shape = inputs.shape[0] // microbatches, inputs.shape[1:]
    counted += _other_parts(model.part(0, freezing.prefix(model)), variables, batch, shape, inputs.dtype)
    if teacher is not None:
        images = teacher[0].image_shape
        counted += _other_parts(*teacher, batch, images, inputs.dtype)
        counted += _spared(teacher[0], batch, images, len(teacher[0].layers))
    counted += _spared(model, batch, shape, freezing.prefix(model))
    return counted * microbatches


def _spared(model: Model, batch: int, shape: tuple[int, ...], prefix: int) -> float:
    """Operations that the direct form of convolutions takes more than the form that runs, in a step on one device.

    Work is counted as that of the direct form, whatever runs: a faster form is to show as more work a second.

    Args:
        shape: of an input.
        prefix: layers from the start that run as inference, in parts of the batch.
    """
    if jax.default_backend() != "cpu":
        return 0.0
    total, part = 0.0, part_size((batch, *shape))
    known = {model.preceding or IMAGES: jax.ShapeDtypeStruct((1, *shape), model.dtype), **model.output_shapes}
    for index, (layer, names) in enumerate(zip(model.layers, sources(model.layers, model.preceding), strict=True)):
        if not isinstance(layer, Conv):
            continue
        inputs, outputs = known[names[0]], known[str(layer.name)]
        size, times = (part, batch // part) if index < prefix else (batch, 1)
        x, y = (jax.ShapeDtypeStruct((size, *array.shape[1:]), array.dtype) for array in (inputs, outputs))
        kernel = (*layer.kernel_size, x.shape[-1] // layer.groups, layer.features)
        window = layer.strides, layer.padding, layer.dilation, layer.groups
        total += times * _difference(x, jax.ShapeDtypeStruct(kernel, x.dtype), *window)
        if index > prefix:  # the gradient of what it takes; of this size, that has the kernel's padding turned round
            turned = jax.ShapeDtypeStruct((*kernel[:2], *kernel[:1:-1]), x.dtype)
            total += _difference(y, turned, *window) if x.shape[1:3] == y.shape[1:3] else 0.0
    return total / jax.device_count()


@functools.cache
def _difference(x: Any, kernel: Any, strides: Any, padding: Any, dilation: Any, groups: int) -> float:
    """Operations of the direct form of a convolution less those of the form that `conv` takes."""
    if not has_fast_form(x, kernel, strides, padding, dilation, groups):
        return 0.0
    pads = explicit_pads(x.shape[1:3], kernel.shape, strides, padding)
    direct = jax.jit(lambda x, k: plain_conv(x, k, (1, 1), pads)).lower(x, kernel).cost_analysis()
    runs = jax.jit(lambda x, k: winograd_conv(x, k, pads)).lower(x, kernel).cost_analysis()
    return (direct or {}).get("flops", 0.0) - (runs or {}).get("flops", 0.0)


def _other_parts(model: Model, variables: Variables, batch: int, shape: tuple[int, ...], dtype: Any) -> float:
    """Operations of the inference on all parts of a batch but the first."""
    size = part_size((batch, *shape))
    if not model.layers or size == batch:
        return 0.0
    of_a_part = jax.jit(model.outputs).lower(variables, jax.ShapeDtypeStruct((size, *shape), dtype)).cost_analysis()
    return (batch // size - 1) * (of_a_part or {}).get("flops", 0.0)


def full_step(job: Job) -> float | None:
    """Floating-point operations of a step that trains every layer from the images, as JAX counts them.

    Tracing such a step takes a second or two, so the number is kept in the cache folder.
    """
    config = job.config
    shapes = jax.tree.map(lambda leaf: list(leaf.shape), job.variables)
    optimizer = repr(replace(config.optimizer, learning_rate=1.0))  # whose value costs nothing
    parts = [repr(config.model), optimizer, config.train.precision, config.data.batch_size, shapes]
    key = hashlib.sha256(json.dumps([*parts, jax.__version__, jax.default_backend()]).encode()).hexdigest()
    path = cache_folder() / "flops" / f"{key}.json"
    try:
        return parse_json(path.read_text())
    except (OSError, ValueError):
        count = _count(job)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(count))
    except OSError:
        pass  # it is counted again at the next run
    return count


def _count(job: Job) -> float | None:
    config, nothing = job.config, Freezing(frozenset())
    optimizer = make_optimizer(config.optimizer, job.model.parameter_shapes, job.model.new_layers)
    step = make_train_step(job.model, optimizer, nothing, job.mesh)
    settings = Settings.of(0, make_schedule(config.optimizer, 1, 1))
    state = jax.eval_shape(lambda variables: TrainState.create(variables, optimizer, nothing, settings), job.variables)
    size = config.data.batch_size
    images = jax.ShapeDtypeStruct((size, *job.model.image_shape), np.uint8)
    cost = step.lower(state, images, jax.ShapeDtypeStruct((size,), np.int32)).cost_analysis()
    found = (cost or {}).get("flops")
    return found and found + jax.device_count() * _spared(job.model, size, images.shape[1:], 0)
