"""The orders of NumPy are TensorFlow's, bit for bit."""

import numpy as np
import pytest

from cnn_jax.data.sampler import shuffled
from cnn_jax.io.tensorflow import tf

SEEDS = (0, -1), (3 << 32 | 7, -2), (2**63 - 1, 5), (-(2**63), -(2**40))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_order_is_that_of_tensorflows_stateless_shuffle(seed: tuple[int, int]) -> None:
    for count in (1, 2, 5, 6, 1201):  # nothing to draw; one, four and five numbers, the last in a block of its own
        expected = tf().random.experimental.stateless_shuffle(tf().range(count), tf().constant(seed, tf().int64))
        np.testing.assert_array_equal(shuffled(count, seed), expected.numpy())
