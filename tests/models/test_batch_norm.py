"""Batch normalisation with a folded rectifier against float64 NumPy, a naive gradient, and Keras' layer."""

from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cnn_jax.models.chain import Chain
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.ops.batch_norm import batch_norm_inference, batch_norm_training
from cnn_jax.models.ops.rectifier import Rectifier

EPSILON = 1e-3
RECTIFIERS = [None, "relu", "relu6"]
SHAPES = [(4, 5, 6, 7), (1, 1, 3, 2), (16, 1, 1, 1)]


def inputs(shape: tuple[int, ...], mean: float = 0.0, spread: float = 1.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Every channel has its own mean and spread; scale and bias reach both bends of ReLU6."""
    rng = np.random.default_rng(seed)
    channels = shape[-1:]
    x = rng.normal(size=shape) * rng.uniform(0.5, 2, channels) * spread + mean + rng.normal(size=channels)
    return {
        "x": x.astype(np.float32),
        "scale": rng.uniform(1, 4, channels).astype(np.float32),
        "bias": rng.uniform(-1, 5, channels).astype(np.float32),
    }


def numpy_rectify(y: np.ndarray, rectifier: Rectifier | None) -> np.ndarray:
    if rectifier is None:
        return y
    return np.maximum(y, 0) if rectifier == "relu" else np.minimum(np.maximum(y, 0), 6)


def numpy_batch_norm(
    x: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray, rectifier: Rectifier | None
) -> np.ndarray:
    x, scale, bias, mean, var = (np.asarray(a, np.float64) for a in (x, scale, bias, mean, var))
    return numpy_rectify((x - mean) / np.sqrt(var + EPSILON) * scale + bias, rectifier)


def numpy_moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = x.astype(np.float64)
    return x.mean((0, 1, 2)), x.var((0, 1, 2))


def naive_loss(
    x: jax.Array, scale: jax.Array, bias: jax.Array, weights: jax.Array, rectifier: Rectifier, epsilon: float = EPSILON
) -> jax.Array:
    """The definition in two passes, for automatic differentiation."""
    mean = x.mean((0, 1, 2))
    var = ((x - mean) ** 2).mean((0, 1, 2))
    y = (x - mean) / jnp.sqrt(var + epsilon) * scale + bias
    if rectifier is not None:
        y = jnp.where(y > 0, y, 0)
    if rectifier == "relu6":
        y = jnp.where(y < 6, y, 6)
    return (y * weights).sum()


def our_gradients(
    data: dict[str, np.ndarray], reference: Any, weights: Any, rectifier: Rectifier | None
) -> list[jax.Array]:
    def loss(x, scale, bias):
        y, _, _ = batch_norm_training(x, scale, bias, jnp.asarray(reference), EPSILON, rectifier)
        return (y * weights).sum()

    return list(jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(data["x"], data["scale"], data["bias"]))


def exact_gradients(data: dict[str, np.ndarray], weights: np.ndarray, rectifier: Rectifier | None) -> list[np.ndarray]:
    with jax.enable_x64(True):
        wide = [jnp.asarray(data[name], jnp.float64) for name in ("x", "scale", "bias")]
        grads = jax.grad(naive_loss, argnums=(0, 1, 2))(*wide, jnp.asarray(weights, jnp.float64), rectifier)
        return [np.asarray(g) for g in grads]


@pytest.mark.parametrize("rectifier", RECTIFIERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_inference_equals_the_formula_in_float64(shape, rectifier):
    data = inputs(shape)
    rng = np.random.default_rng(1)
    mean, var = rng.normal(size=shape[-1]), rng.uniform(1e-4, 3, shape[-1])
    mean, var = mean.astype(np.float32), var.astype(np.float32)
    actual = batch_norm_inference(jnp.asarray(data["x"]), data["scale"], data["bias"], mean, var, EPSILON, rectifier)
    expected = numpy_batch_norm(**data, mean=mean, var=var, rectifier=rectifier)
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-6 * max(1, np.abs(expected).max()))


def test_inference_is_limited_by_epsilon_where_a_channel_is_dead():
    x = jnp.full((1, 1, 1, 1), 0.5)
    one, zero = jnp.ones(1), jnp.zeros(1)
    y = batch_norm_inference(x, one, zero, zero, jnp.full(1, 3.9e-36), EPSILON, None)
    np.testing.assert_allclose(y[0, 0, 0, 0], 0.5 / np.sqrt(1e-3), rtol=1e-6)


@pytest.mark.parametrize("rectifier", RECTIFIERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training_returns_the_result_the_mean_and_the_biased_variance(shape, rectifier):
    data = inputs(shape)
    x = jnp.asarray(data["x"])
    y, mean, var = jax.jit(batch_norm_training, static_argnums=(4, 5))(
        x, data["scale"], data["bias"], jnp.zeros(shape[-1]), EPSILON, rectifier
    )
    exact_mean, exact_var = numpy_moments(data["x"])
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(var, exact_var, rtol=1e-5, atol=1e-6)
    expected = numpy_batch_norm(**data, mean=exact_mean, var=exact_var, rectifier=rectifier)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.sample(1)
@pytest.mark.parametrize("rectifier", RECTIFIERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reference", [0.0, 0.7])
def test_gradients_equal_those_of_the_definition_in_float64(shape, rectifier, reference):
    data = inputs(shape)
    weights = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    actual = our_gradients(data, np.full(shape[-1], reference, np.float32), weights, rectifier)
    for a, e in zip(actual, exact_gradients(data, weights, rectifier), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=2e-5 * max(1, np.abs(e).max()))


def test_the_inputs_of_these_tests_reach_both_bends_of_relu6():
    data = inputs(SHAPES[0])
    mean, var = numpy_moments(data["x"])
    y = numpy_batch_norm(**data, mean=mean, var=var, rectifier=None)
    assert (y < 0).mean() > 0.05
    assert (y > 6).mean() > 0.05


@pytest.mark.sample(1)
@pytest.mark.parametrize("rectifier", RECTIFIERS)
def test_a_large_mean_costs_no_accuracy_when_the_reference_is_near(rectifier):
    shape = (8, 6, 6, 5)
    data = inputs(shape, mean=1000)
    reference = np.full(5, 1000.5, np.float32)
    x = jnp.asarray(data["x"])
    y, mean, var = batch_norm_training(x, data["scale"], data["bias"], reference, EPSILON, rectifier)
    exact_mean, exact_var = numpy_moments(data["x"])
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-6)
    np.testing.assert_allclose(var, exact_var, rtol=1e-5)
    expected = numpy_batch_norm(**data, mean=exact_mean, var=exact_var, rectifier=rectifier)
    np.testing.assert_allclose(y, expected, atol=1e-3)  # around 1000 float32 has steps of 6e-5, times scale / deviation
    weights = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    for a, e in zip(
        our_gradients(data, reference, weights, rectifier), exact_gradients(data, weights, rectifier), strict=True
    ):
        np.testing.assert_allclose(a, e, atol=1e-3 * max(1, np.abs(e).max()))


@pytest.mark.parametrize("reference", [0.0, 1000.0])
def test_a_constant_channel_has_a_finite_result_and_no_negative_variance(reference):
    x = jnp.full((4, 3, 3, 1), 1000.1)
    y, _, var = batch_norm_training(x, jnp.ones(1), jnp.zeros(1), jnp.full(1, reference), EPSILON, None)
    assert var[0] >= 0
    assert np.isfinite(y).all()


@pytest.mark.parametrize(("rectifier", "value"), [("relu", 0.0), ("relu6", 0.0), ("relu6", 6.0)])
def test_no_gradient_passes_at_the_bends_as_in_tensorflow(rectifier, value):
    data = inputs((2, 3, 3, 2)) | {"scale": np.zeros(2, np.float32), "bias": np.full(2, value, np.float32)}
    for grad in our_gradients(data, np.zeros(2), 1.0, rectifier):
        np.testing.assert_array_equal(grad, 0)


def test_statistics_and_reference_carry_no_gradient():
    data = inputs((2, 3, 3, 2))

    def loss(x, reference):
        _, mean, var = batch_norm_training(x, data["scale"], data["bias"], reference, EPSILON, "relu6")
        return mean.sum() + var.sum()

    for grad in jax.grad(loss, argnums=(0, 1))(data["x"], jnp.zeros(2)):
        np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize("rectifier", RECTIFIERS)
def test_bfloat16_is_normalised_in_float32_and_rounded_once(rectifier):
    data = inputs((4, 5, 6, 7))
    x = jnp.asarray(data["x"], jnp.bfloat16)
    y, mean, var = batch_norm_training(x, data["scale"], data["bias"], jnp.zeros(7), EPSILON, rectifier)
    assert (y.dtype, mean.dtype, var.dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    rounded = np.asarray(x, np.float32)
    exact_mean, exact_var = numpy_moments(rounded)
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(var, exact_var, rtol=1e-5)
    expected = numpy_batch_norm(**(data | {"x": rounded}), mean=exact_mean, var=exact_var, rectifier=rectifier)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2.0**-8, atol=1e-4)
    inference = batch_norm_inference(x, data["scale"], data["bias"], mean, var, EPSILON, rectifier)
    assert inference.dtype == jnp.bfloat16


@pytest.mark.parametrize("steps", [1, 3])
def test_training_steps_move_the_averages_as_keras_does(steps):
    rng = np.random.default_rng(3)
    start = {name: rng.uniform(0.5, 2, 6).astype(np.float32) for name in ("scale", "bias", "mean", "var")}
    layer = keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99)
    layer.build((None, 5, 4, 6))
    layer.set_weights([start["scale"], start["bias"], start["mean"], start["var"]])
    variables = {
        "params": {"bn": {"scale": start["scale"], "bias": start["bias"]}},
        "batch_stats": {"bn": {"mean": start["mean"], "var": start["var"]}},
    }
    chain = Chain((BatchNorm(name="bn"),))
    for step in range(steps):
        x = inputs((3, 5, 4, 6), seed=step)["x"]
        expected = np.asarray(layer(x, training=True))
        (y, _), updates = chain.apply(variables, jnp.asarray(x), train=True, mutable=["batch_stats"])
        variables = {"params": variables["params"], **updates}
        np.testing.assert_allclose(y, expected, atol=2e-5)
    moved = variables["batch_stats"]["bn"]
    _, _, keras_mean, keras_var = layer.get_weights()
    np.testing.assert_allclose(moved["mean"], keras_mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(moved["var"], keras_var, rtol=1e-6, atol=1e-7)
    x = inputs((3, 5, 4, 6), seed=9)["x"]
    np.testing.assert_allclose(
        chain.apply(variables, jnp.asarray(x))[0], np.asarray(layer(x, training=False)), atol=2e-5
    )
