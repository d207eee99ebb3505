"""Maximum pooling: values against NumPy, the gradient against Keras' (TensorFlow's) and XLA's own, ties included."""

import jax
import numpy as np
import pytest
import tensorflow as tf

from cnn_jax.models.ops.pooling import compared_gradient, max_pool, plain_max_pool

CASES = [
    ((2, 8, 8, 3), (2, 2), (2, 2), "VALID"),
    ((2, 9, 7, 3), (2, 2), (2, 2), "VALID"),
    ((1, 7, 11, 2), (3, 2), (3, 2), "VALID"),
    ((1, 13, 12, 1), (12, 12), (12, 12), "VALID"),
    ((2, 4, 4, 5), (1, 1), (1, 1), "VALID"),
    ((2, 9, 7, 3), (2, 2), (2, 2), "SAME"),
    ((2, 9, 7, 3), (3, 3), (2, 2), "VALID"),
]


def arrays(shape, pool_size, strides, padding) -> tuple[np.ndarray, np.ndarray]:
    """Images of few values, so that most windows have several maxima, and a gradient for their pooling."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, shape).astype(np.float32)
    y = jax.eval_shape(lambda x: max_pool(x, pool_size, strides, padding), x)
    return x, rng.normal(size=y.shape).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradient_are_tensorflows(case) -> None:
    x, grad = arrays(*case)
    y, pull = jax.vjp(lambda x: max_pool(x, *case[1:]), x)
    variable = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        reference = tf.nn.max_pool2d(variable, *case[1:])
    np.testing.assert_array_equal(y, reference)
    expected = tape.gradient(reference, variable, output_gradients=tf.constant(grad))
    np.testing.assert_array_equal(jax.jit(pull)(grad)[0], expected)


@pytest.mark.sample(1)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_compared_gradient_is_the_plain_one_bit_for_bit(dtype: str) -> None:
    x, grad = (a.astype(dtype) for a in map(jax.numpy.asarray, arrays(*CASES[1])))
    _, pull = jax.vjp(lambda x: plain_max_pool(x, *CASES[1][1:]), x)
    np.testing.assert_array_equal(compared_gradient(x, grad, (2, 2)), pull(grad)[0])


def test_the_gradient_finds_its_maxima_where_the_input_is_computed_anew() -> None:
    rng = np.random.default_rng(1)
    x, weights = (rng.normal(size=(4, 16, 16, 8)).astype(np.float32) for _ in range(2))

    def loss(x, pool):  # what comes before the pooling is fused into it and into its gradient
        return (pool(jax.nn.silu(x * 1.1 + 0.3) * x, (2, 2), (2, 2), "VALID") * weights[:, ::2, ::2]).sum()

    gradients = [jax.jit(jax.grad(lambda x, pool=pool: loss(x, pool)))(x) for pool in (max_pool, plain_max_pool)]
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-6)


def test_a_cpu_runs_no_select_and_scatter_and_an_accelerator_does() -> None:
    x, _ = arrays(*CASES[0])
    gradient = jax.jit(jax.grad(lambda x: max_pool(x, *CASES[0][1:]).sum()))
    assert "select_and_scatter" not in gradient.trace(x).lower(lowering_platforms=("cpu",)).as_text()
    assert "select_and_scatter" in gradient.trace(x).lower(lowering_platforms=("cuda",)).as_text()
