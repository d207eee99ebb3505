"""The rounding of int8: against TensorFlow's own fake quantization, and where the ranges lie."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from cnn_jax.config import ModelConfig
from cnn_jax.models import quantization
from cnn_jax.models.building import build
from cnn_jax.models.model import Model
from cnn_jax.models.ops.rounding import fake_quantize, fake_quantize_kernel
from cnn_jax.models.quantization import FakeQuantize

SMALL = ModelConfig(name="simple_cnn", weights="none", image_size=8, filters=(4, 8), batch_norm=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 6.0), (-0.3, 4.7), (-2.0, 0.0)])
def test_values_and_gradients_are_those_of_tensorflow(low: float, high: float) -> None:
    x = np.random.default_rng(0).normal(0, 3, 400).astype(np.float32)
    with tf.GradientTape() as tape:
        given = tf.constant(x)
        tape.watch(given)
        expected = tf.quantization.fake_quant_with_min_max_args(given, low, high)
    bounds = jnp.float32(low), jnp.float32(high)
    found = fake_quantize(jnp.asarray(x), *bounds)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert len(np.unique(found)) > 60
    gradient = jax.grad(lambda x: fake_quantize(x, *bounds).sum())(jnp.asarray(x))
    np.testing.assert_array_equal(gradient, tape.gradient(expected, given))


def test_kernels_are_those_of_tensorflow_channel_by_channel() -> None:
    kernel = np.random.default_rng(0).normal(0, 1, (3, 3, 4, 5)).astype(np.float32) * [1, 10, 0.1, 2, 1e-3]
    kernel = kernel.astype(np.float32)
    largest = np.abs(kernel).max((0, 1, 2))
    expected = tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -largest, largest, narrow_range=True)
    np.testing.assert_allclose(fake_quantize_kernel(jnp.asarray(kernel)), expected, rtol=1e-5, atol=1e-7)
    gradient = jax.grad(lambda k: fake_quantize_kernel(k).sum())(jnp.asarray(kernel))
    np.testing.assert_array_equal(gradient, np.ones_like(kernel))


def _names(model: Model) -> list[str]:
    return [str(layer.name) for layer in model.layers if isinstance(layer, FakeQuantize)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SMALL, ["relu1_range", "relu2_range"]),
        (ModelConfig(name="vgg16", image_size=32), ["block1_conv1_range", "block1_conv2_range"]),
        (ModelConfig(name="mobilenet", alpha=0.25, image_size=32), ["conv1_relu_range", "conv_dw_1_relu_range"]),
        (
            ModelConfig(name="mobilenet_v2", alpha=0.35, image_size=32),
            ["Conv1_relu_range", "expanded_conv_depthwise_relu_range", "expanded_conv_project_BN_range"],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, ModelConfig) else "",
)
def test_a_range_follows_what_is_one_operation_in_the_file(config: ModelConfig, expected: list[str]) -> None:
    model = build(config, 3)
    prepared = quantization.prepared(model)
    assert _names(prepared)[: len(expected)] == expected
    assert prepared.layers[-1] == model.layers[-1], "the classifier stays the last layer"
    if config.name == "mobilenet_v2":
        add = next(layer for layer in prepared.layers if layer.name == "block_2_add")
        assert set(add.inputs) == {"block_2_project_BN_range", "block_1_project_BN_range"}
    assert quantization.plain(quantization.active(prepared)).layers == model.layers


@pytest.mark.long
def test_until_it_is_active_nothing_changes_and_then_the_outputs_are_rounded() -> None:
    model = build(SMALL, 3)
    prepared, variables = quantization.prepared(model), model.init(0)
    ranged = quantization.with_ranges(prepared, variables)
    expected = model.logits(variables, IMAGES)
    np.testing.assert_array_equal(prepared.logits(ranged, IMAGES), expected)
    assert quantization.learned(prepared, ranged) == {}
    active = quantization.active(prepared)
    norms = ("bn1", "bn2")
    _, statistics = active.train_logits(ranged, IMAGES, jax.random.key(0), norms)
    trained = {**ranged, "batch_stats": statistics}
    outputs = active.activations(trained, IMAGES, ["relu1", "relu1_range"])
    learned = quantization.learned(prepared, trained)
    assert learned["relu1"] == (0.0, pytest.approx(float(outputs["relu1"].max()), rel=1e-6))
    steps = np.asarray(outputs["relu1_range"]) / (learned["relu1"][1] / 255)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert quantization.without_ranges(trained)["batch_stats"].keys() == variables["batch_stats"].keys()


def test_ranges_move_slowly_and_keep_zero() -> None:
    layer = FakeQuantize(name="range", active=True)
    state = {"batch_stats": {"low": jnp.zeros(()), "high": jnp.zeros(())}}
    for values in ([[1.0, 3.0]], [[-1.0, 2.0]]):
        _, state = layer.apply(state, jnp.asarray(values), True, mutable=["batch_stats"])
    assert float(state["batch_stats"]["high"]) == pytest.approx(0.9 * 3 + 0.1 * 2)
    assert float(state["batch_stats"]["low"]) == pytest.approx(-0.1)


@pytest.mark.long
def test_bfloat16_is_rounded_too() -> None:
    active = quantization.active(quantization.prepared(replace(build(SMALL, 3), precision="bfloat16")))
    variables = quantization.with_ranges(active, build(SMALL, 3).init(0))
    logits, statistics = active.train_logits(variables, IMAGES, jax.random.key(0), ("bn1", "bn2"))
    assert np.isfinite(logits).all()
    assert statistics["relu1_range"]["high"].dtype == jnp.float32
