"""What the tests of the two convolutions share: a loop in float64, TensorFlow's rules of padding, gradients."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.models.ops.shifts import Pads

Tolerances = dict[str, tuple[float, float]]
"""By dtype: relative, and absolute in units of the largest value."""


Case = tuple[Any, ...]
"""The shape of the images first; kernel size, strides and padding last."""


def resolve(case: Case) -> Pads:
    """The padding by TensorFlow's rules; the odd pixel of SAME goes to the end."""
    shape, *_, kernel_size, strides, padding = case
    if not isinstance(padding, str):
        return padding
    if padding == "VALID":
        return (0, 0), (0, 0)
    sizes = zip(shape[1:3], kernel_size, strides, strict=True)
    rows, columns = (max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in sizes)
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)


def out_size(case: Case) -> tuple[int, int]:
    shape, *_, kernel_size, strides, _ = case
    sizes = zip(shape[1:3], kernel_size, strides, resolve(case), strict=True)
    rows, columns = ((n + sum(pad) - k) // s + 1 for n, k, s, pad in sizes)
    return rows, columns


def loop_reference(
    x: np.ndarray, kernel: np.ndarray, grad: np.ndarray, strides: tuple[int, int], pads: Pads
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output, gradient of the images and gradient of the kernel, one output pixel at a time in float64.

    A kernel [kh, kw, 1, c] over c channels is a depthwise one: with zeros between the channels, one over all of them.
    """
    x, kernel, grad = (np.asarray(a, np.float64) for a in (x, kernel, grad))
    depthwise = kernel.shape[2] < x.shape[3]
    full = kernel * np.eye(x.shape[3]) if depthwise else kernel
    out, grad_kernel, grad_x = np.zeros(grad.shape), np.zeros(full.shape), np.zeros(x.shape)
    for i, j in itertools.product(*map(range, grad.shape[1:3])):
        for p, q in itertools.product(*map(range, full.shape[:2])):
            row, column = i * strides[0] + p - pads[0][0], j * strides[1] + q - pads[1][0]
            if not (0 <= row < x.shape[1] and 0 <= column < x.shape[2]):
                continue
            out[:, i, j] += x[:, row, column] @ full[p, q]
            grad_x[:, row, column] += grad[:, i, j] @ full[p, q].T
            grad_kernel[p, q] += x[:, row, column].T @ grad[:, i, j]
    return out, grad_x, np.einsum("pqcc->pqc", grad_kernel)[:, :, None] if depthwise else grad_kernel


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
