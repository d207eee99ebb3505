"""The work of a step does not depend on the parts that it is run in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.models import parts
from cnn_jax.models.model import build
from cnn_jax.training.flops import compiled_step
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.mesh import Mesh
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import StepOptions, make_train_step

MODEL = build(ModelConfig(name="mobilenet", alpha=0.25, weights="none", image_size=64, dropout=0.0), 3)
VARIABLES = MODEL.init(0)
FREEZING = Freezing.until(MODEL, "conv_pw_10")


def work(options: StepOptions) -> tuple[float, float]:
    """As it is counted, and what XLA alone says, of a step on eight images."""
    images, labels = np.zeros((8, 64, 64, 3), np.uint8), np.zeros(8, np.int32)
    mesh, optimizer = Mesh.create(), optax.sgd(0.1)
    state = TrainState.create(jax.tree.map(jnp.array, VARIABLES), optimizer, FREEZING, Settings.of(0))
    compiled = make_train_step(MODEL, optimizer, FREEZING, mesh, options).lower(state, images, labels).compile()
    counted = compiled_step(MODEL, FREEZING, VARIABLES, compiled, jnp.asarray(images), options.microbatches)
    assert counted is not None
    return counted, compiled.cost_analysis()["flops"]


@pytest.mark.long
def test_parts_and_microbatches_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PIXELS", 2**40)
    whole, said = work(StepOptions())
    assert whole == said
    halves, said = work(StepOptions(microbatches=2))
    assert halves == pytest.approx(whole, rel=0.03)
    assert said < 0.6 * whole
    monkeypatch.setattr(parts, "PIXELS", 64 * 64)
    monkeypatch.setattr(parts, "_cores", lambda: 2)
    in_parts, said = work(StepOptions())
    assert in_parts == pytest.approx(whole, rel=0.03)
    assert said < 0.8 * whole
