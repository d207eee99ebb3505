"""The work of a step does not depend on the parts that it is run in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.models import parts
from cnn_jax.models.building import build
from cnn_jax.models.model import Model
from cnn_jax.models.ops import convolution
from cnn_jax.training.flops import compiled_step
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import StepOptions, make_train_step


def work(options: StepOptions, model: Model, freezing: Freezing) -> tuple[float, float]:
    """As it is counted, and what XLA alone says, of a step on eight images."""
    images, labels = np.zeros((8, model.image_size, model.image_size, 3), np.uint8), np.zeros(8, np.int32)
    mesh, optimizer, variables = Mesh.create(), optax.sgd(0.1), model.init(0)
    state = TrainState.create(jax.tree.map(jnp.array, variables), optimizer, freezing, Settings.of(0))
    compiled = make_train_step(model, optimizer, freezing, mesh, options).lower(state, images, labels).compile()
    counted = compiled_step(model, freezing, variables, compiled, jnp.asarray(images), options.microbatches)
    assert counted is not None
    return counted, compiled.cost_analysis()["flops"]


@pytest.mark.long
def test_parts_and_microbatches_are_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PIXELS", 2**40)
    model = build(ModelConfig(name="mobilenet", alpha=0.25, weights="none", image_size=64, dropout=0.0), 3)
    freezing = Freezing.until(model, "conv_pw_10")
    whole, said = work(StepOptions(), model, freezing)
    assert whole == said
    halves, said = work(StepOptions(microbatches=2), model, freezing)
    assert halves == pytest.approx(whole, rel=0.03)
    assert said < 0.6 * whole
    monkeypatch.setattr(parts, "PIXELS", 64 * 64)
    monkeypatch.setattr(parts, "_cores", lambda: 2)
    in_parts, said = work(StepOptions(), model, freezing)
    assert in_parts == pytest.approx(whole, rel=0.03)
    assert said < 0.8 * whole


@pytest.mark.long
@pytest.mark.parametrize("until", ["none", "conv3"])
def test_a_faster_form_of_a_convolution_counts_as_the_direct_one(until: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig(name="simple_cnn", weights="none", image_size=32, filters=(64, 64, 64, 64), dropout=0.0)
    model = build(config, 3)
    freezing = Freezing.until(model, until)
    counted, said = work(StepOptions(), model, freezing)
    monkeypatch.setattr(convolution, "pays", lambda *_: False)
    assert work(StepOptions(), model, freezing)[1] == pytest.approx(counted, rel=0.01)
    assert said < 0.9 * counted
