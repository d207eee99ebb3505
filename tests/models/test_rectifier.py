"""The rectifiers and their gradients against TensorFlow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from cnn_jax.models.layers import Activation
from cnn_jax.models.ops.rectifier import rectify

X = np.asarray([-3, -1e-30, 0, 1e-30, 2.5, 6, 6.5, 7], np.float32)
"""Both bends among them."""


@pytest.mark.parametrize("kind", ["relu", "relu6"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients_are_tensorflows(kind, dtype):
    reference = {"relu": tf.nn.relu, "relu6": tf.nn.relu6}[kind]
    x = tf.cast(tf.constant(X), jnp.dtype(dtype).name)
    with tf.GradientTape() as tape:
        tape.watch(x)
        expected = reference(x)
    value, pullback = jax.vjp(lambda x: rectify(x, kind), jnp.asarray(X, dtype))
    np.testing.assert_array_equal(np.asarray(value), expected)
    np.testing.assert_array_equal(np.asarray(pullback(jnp.ones_like(value))[0]), tape.gradient(expected, x))
    assert value.dtype == dtype


def test_no_rectifier_passes_everything():
    value, tangent = jax.jvp(lambda x: rectify(x, None), (jnp.asarray(X),), (jnp.ones(len(X)),))
    np.testing.assert_array_equal(value, X)
    np.testing.assert_array_equal(tangent, np.ones(len(X)))


def test_the_layer_is_the_same_function():
    layer = Activation("relu6")
    gradient = jax.grad(lambda x: layer.apply({}, x, False).sum())(jnp.asarray(X))
    np.testing.assert_array_equal(gradient, [0, 0, 0, 1, 1, 0, 0, 0])
