"""What the tests of the two convolutions share: TensorFlow's rules of padding, gradients, and a comparison by scale."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.ops.shifts import Pads

Tolerances = dict[str, tuple[float, float]]
"""By dtype: relative, and absolute in units of the largest value."""


def resolve_padding(
    size: Sequence[int], kernel_size: Sequence[int], strides: Sequence[int], padding: str | Pads
) -> Pads:
    """TensorFlow's rules; the odd pixel of SAME goes to the end."""
    if not isinstance(padding, str):
        return padding
    if padding == "VALID":
        return (0, 0), (0, 0)
    sizes = zip(size, kernel_size, strides, strict=True)
    rows, columns = (max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in sizes)
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)


def output_size(size: Sequence[int], kernel_size: Sequence[int], strides: Sequence[int], pads: Pads) -> tuple[int, int]:
    rows, columns = ((n + sum(pad) - k) // s + 1 for n, k, s, pad in zip(size, kernel_size, strides, pads, strict=True))
    return rows, columns


def value_and_gradients(
    function: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, kernel: jax.Array, grad: jax.Array
) -> list[jax.Array]:
    """Output, gradient of the images and gradient of the kernel."""

    @jax.jit
    def run(x, kernel, grad):
        out, backward = jax.vjp(function, x, kernel)
        return out, *backward(grad)

    return list(run(x, kernel, grad))


def assert_close(
    actual: Sequence[jax.Array], expected: Sequence[np.ndarray | jax.Array], dtype: str, tolerance: tuple[float, float]
) -> None:
    rtol, atol = tolerance
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == jnp.dtype(dtype)
        e = np.asarray(e, np.float64)
        scale = max(1.0, np.abs(e).max(initial=0))
        np.testing.assert_allclose(np.asarray(a, np.float64), e, rtol=rtol, atol=atol * scale)
