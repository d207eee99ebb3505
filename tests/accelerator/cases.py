"""What is computed on an accelerator and on the CPU: python -m tests.accelerator.cases FILE.npz [alone], by JAX.

Nothing here needs TensorFlow or Keras.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.config import AugmentConfig, ColourJitterConfig, ErasingConfig, ModelConfig, OptimizerConfig
from cnn_jax.data.augment.device import augment_batch, example_keys
from cnn_jax.models.building import build
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.optimizer import make_optimizer
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.schedule import make_schedule
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import make_predict, make_train_step
from cnn_jax.weights import pretrained
from cnn_jax.weights.options import PretrainedConfig

BATCH, SIZE, STEPS = 8, 64, 4
NETWORKS = {
    "mobilenet": {"alpha": 0.25},
    "mobilenet_v2": {"alpha": 0.35},
    "vgg16": {},
    "simple_cnn": {"filters": (8, 16), "batch_norm": True},
}
TRAINED = {"mobilenet": ("none", "conv_pw_10", "head"), "simple_cnn": ("none",)}
CHANGES = AugmentConfig(
    rotation=20,
    zoom=(0.8, 1.2),
    shear=10,
    horizontal_flip=True,
    brightness=(0.7, 1.3),
    jitter=ColourJitterConfig(brightness=0.2, saturation=0.2),
    erasing=ErasingConfig(0.5),
)


def network(name: str) -> tuple[Model, dict]:
    """A model, and variables with which activations keep their size and statistics are away from 0 and 1."""
    model = build(ModelConfig(name=name, weights="none", image_size=SIZE, dropout=0.0, **NETWORKS[name]), 5)
    rng = np.random.default_rng(1)
    variables = model.init(0)
    for leaves in variables["batch_stats"].values():
        leaves["mean"] = rng.normal(0, 0.1, leaves["mean"].shape).astype(np.float32)
        leaves["var"] = rng.uniform(0.5, 1.5, leaves["var"].shape).astype(np.float32)
    return model, variables


def images(size: int = SIZE) -> np.ndarray:
    """uint8[BATCH, size, size, 3]: squares of 8 x 8 pixels."""
    coarse = np.random.default_rng(2).integers(0, 256, (BATCH, size // 8, size // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def start(name: str, until: str) -> tuple[TrainState, Freezing, object]:
    """A new state, what is frozen, and the step."""
    (model, variables), mesh = network(name), Mesh.create()
    config, freezing = OptimizerConfig(name="adam", learning_rate=1e-3, schedule="cosine"), Freezing.until(model, until)
    optimizer = make_optimizer(config, model.parameter_shapes)
    settings = Settings.of(3, make_schedule(config, STEPS, 1))
    state = mesh.replicate(TrainState.create(jax.tree.map(jnp.array, variables), optimizer, freezing, settings))
    return state, freezing, make_train_step(model, optimizer, freezing, mesh)


def results(alone: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Names and arrays.

    Args:
        alone: the CPU stands in for the accelerator and is held against itself: a few of them.
    """
    for name in ("simple_cnn",) if alone else NETWORKS:
        model, variables = network(name)
        yield f"logits/{name}", np.asarray(make_predict(model, Mesh.create())(variables, images()))
    if os.environ.get("CNN_JAX_TEST_WEIGHTS"):
        file = Path(os.environ["CNN_JAX_TEST_WEIGHTS"]) / "mobilenet_7_5_224_tf.h5"
        loaded = pretrained.load(PretrainedConfig(weights=str(file), alpha=0.75), need_top=True)
        yield "logits/a real file", np.asarray(loaded.model.logits(loaded.variables, images(224)))
    for name, frozen in TRAINED.items():
        for until in frozen[-1:] if alone else frozen:
            state, _, step = start(name, until)
            reports = []
            for _ in range(STEPS):
                state, report = step(state, images(), np.arange(BATCH, dtype=np.int32) % 5)
                reports.append([float(report["loss"]), float(report["gradient_norm"])])
            yield f"steps/{name}/{until}", np.array(reports)
    keys = example_keys(jax.random.key(0), 0, jnp.arange(BATCH))
    yield "augmented", np.asarray(jax.jit(lambda rows: augment_batch(rows, keys, CHANGES))(images()))


if __name__ == "__main__":
    np.savez(sys.argv[1], **dict(results("alone" in sys.argv[2:])))
