"""The work of training steps: of the compiled one, and of one of the whole network to hold it against."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from cnn_jax.files import cache_folder, parse_json, write_atomically
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
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
        side = teacher[0].image_size
        counted += _other_parts(*teacher, batch, (side, side, 3), inputs.dtype)
    return counted * microbatches


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
    images = jax.ShapeDtypeStruct((size, job.model.image_size, job.model.image_size, 3), np.uint8)
    cost = step.lower(state, images, jax.ShapeDtypeStruct((size,), np.int32)).cost_analysis()
    return (cost or {}).get("flops")
