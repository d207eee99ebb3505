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
    model: Model, freezing: Freezing, variables: Variables, compiled: Any, inputs: Any, microbatches: int = 1
) -> float | None:
    """Floating-point operations of a compiled step on one device.

    XLA counts the body of a loop once. So what it counts is the first of the microbatches, and of that the first of
    the parts that the frozen start runs in (`models.parts`); the others are added.

    Args:
        model: the model of the step, which takes such `inputs`, a batch or its shape; `variables` has at least its own.
    """
    counted = (compiled.cost_analysis() or {}).get("flops")
    if not counted:
        return None
    batch, shape = inputs.shape[0] // microbatches, inputs.shape[1:]
    start, size = model.part(0, freezing.prefix(model)), part_size((batch, *shape))
    if start.layers and size < batch:
        part = jax.ShapeDtypeStruct((size, *shape), inputs.dtype)
        of_a_part = jax.jit(start.outputs).lower(variables, part).cost_analysis()
        counted += (batch // size - 1) * (of_a_part or {}).get("flops", 0.0)
    return counted * microbatches


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
