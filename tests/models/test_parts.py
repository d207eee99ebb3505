"""Inference in parts of a batch gives what the whole gives."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.models import parts
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables, layer_index
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import make_train_step

MOBILENET = ModelConfig(name="mobilenet", alpha=0.25, weights="none", image_size=64, dropout=0.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def mobilenet() -> tuple[Model, Variables]:
    model = build(MOBILENET, 3)
    return model, model.init(0)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of `IMAGES` at once."""
    monkeypatch.setattr(parts, "PIXELS", 64 * 64)
    monkeypatch.setattr(parts, "_cores", lambda: 2)


@pytest.mark.long
def test_outputs_are_those_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, pairs: None, mobilenet: tuple[Model, Variables]
) -> None:
    model, variables = mobilenet
    assert parts.part_size(IMAGES.shape) == 2
    program = jax.jit(model.logits).lower(variables, IMAGES)
    assert "while" in program.as_text()
    in_pairs = program.compile()(variables, IMAGES)
    monkeypatch.setattr(parts, "PIXELS", 2**40)
    whole = jax.jit(lambda v, x: model.logits(v, x))(variables, IMAGES)
    np.testing.assert_allclose(in_pairs, whole, rtol=0, atol=1e-6 * np.abs(whole).max())


@pytest.mark.long
def test_a_step_with_a_frozen_start_is_that_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch, pairs: None, mobilenet: tuple[Model, Variables]
) -> None:
    model, variables = mobilenet
    freezing, optimizer = Freezing.until(model, "conv_pw_10"), optax.sgd(0.1)
    losses, texts = [], []
    for pixels in (64 * 64, 2**40):
        monkeypatch.setattr(parts, "PIXELS", pixels)
        state = TrainState.create(jax.tree.map(jnp.array, variables), optimizer, freezing, Settings.of(0))
        step = make_train_step(model, optimizer, freezing, Mesh.create())
        texts.append(step.lower(state, IMAGES, np.arange(12) % 3).as_text())
        of_steps = []
        for _ in range(3):
            state, report = step(state, IMAGES, np.arange(12) % 3)
            of_steps.append([float(report["loss"]), float(report["gradient_norm"])])
        losses.append(of_steps)
    assert texts[0].count("while") > texts[1].count("while")
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.long
def test_going_on_from_activations_is_bit_identical_to_all_layers_together(
    pairs: None, mobilenet: tuple[Model, Variables]
) -> None:
    model, variables = mobilenet
    cut, end = (layer_index(model.layers, name, "") for name in ("conv_pw_6", "dropout"))
    first, then, both = model.part(0, cut), model.part(cut, end), model.part(0, end)
    kept = jax.jit(first.outputs)(variables, IMAGES)
    program = jax.jit(lambda v, x: then.outputs(v, x, as_from_images=True))
    np.testing.assert_array_equal(program(variables, kept), jax.jit(both.outputs)(variables, IMAGES))
    assert parts.part_size(kept.shape) == 12
    assert parts.part_size(kept.shape, image_size=64) == 2


@pytest.mark.parametrize(
    ("batch", "pixels", "cores", "size"),
    [
        (32, 224, 2, 2),
        (32, 224, 16, 16),
        (31, 224, 2, 31),  # a prime number of images is not run one by one
        (32, 32, 2, 32),
        (32, 299, 1, 1),
        (1, 224, 2, 1),
        (64, 128, 2, 4),
    ],
)
def test_a_part_has_about_an_image_a_core(
    monkeypatch: pytest.MonkeyPatch, batch: int, pixels: int, cores: int, size: int
) -> None:
    monkeypatch.setattr(parts, "_cores", lambda: cores)
    assert parts.part_size((batch, pixels, pixels, 3)) == size


def test_what_is_no_batch_of_images_is_left_whole(pairs: None) -> None:
    assert parts.part_size((12, 4096)) == 12
    symbolic = jax.export.symbolic_shape("b, 64, 64, 3")
    assert parts.part_size(symbolic) is symbolic[0]
