"""Depthwise convolution: the grouped convolution on accelerators, shifted multiply-adds on CPU.

XLA:CPU runs a convolution with `feature_group_count == channels` 20 to 50 times slower than the sum over its
taps of `input shifted by the tap * weight of the tap`, which it fuses into one pass over the output. Both forms
compute the same sum; `jax.lax.platform_dependent` picks one when the program is lowered for a platform, so the
same traced function runs well on every device. The gradients are written out for the same reason: the
transpose rules of the shifted form would scatter one padded array per tap.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from cnn_jax.models.ops.shifts import Pads, accumulation_dtype, explicit_pads, output_size, pad, taps
from cnn_jax.models.ops.sums import sums_by_row

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_Pair = tuple[Float[Array, "b h w c"], Float[Array, "kh kw 1 c"]]
"""Images and kernel, or the gradients by them."""


def depthwise_conv(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw in f"],
    strides: tuple[int, int] = (1, 1),
    padding: str | Pads = "SAME",
) -> Float[Array, "b oh ow c"]:
    """Convolve each channel with its own filter.

    Args:
        images: of any size.
        kernel: [kh, kw, 1, c], the layout of a grouped convolution with one output channel a group.
        strides: rows and columns between neighbouring outputs.
        padding: "SAME" or "VALID" as TensorFlow defines them, or explicit pads.

    Returns:
        In the dtype of `images`; sums are accumulated in float32 or wider.
    """
    if kernel.shape[2:] != (1, images.shape[-1]):
        raise ValueError(f"kernel of shape {kernel.shape} does not fit {images.shape[-1]} channels: [kh, kw, 1, c]")
    return _depthwise(images, kernel, tuple(strides), explicit_pads(images.shape[1:3], kernel.shape, strides, padding))


def grouped_conv(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw 1 c"], strides: tuple[int, int], pads: Pads
) -> Float[Array, "b oh ow c"]:
    """The plain form, and the reference for the tests: one convolution with as many groups as channels."""
    return lax.conv_general_dilated(
        images, kernel, strides, pads, dimension_numbers=_DIMENSIONS, feature_group_count=images.shape[-1]
    )


def shifted_conv(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw 1 c"], strides: tuple[int, int], pads: Pads
) -> Float[Array, "b oh ow c"]:
    """The sum over the taps of the shifted input times the tap's weight."""
    dtype = accumulation_dtype(images)
    padded = pad(images, pads)
    out_size = output_size(padded, kernel, strides)
    windows = taps(padded, kernel.shape, strides, out_size)
    terms = (window.astype(dtype) * kernel[i, j, 0].astype(dtype) for i, j, window in windows)
    return functools.reduce(jnp.add, terms).astype(images.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw 1 c"], strides: tuple[int, int], pads: Pads
) -> Float[Array, "b oh ow c"]:
    return lax.platform_dependent(
        images,
        kernel,
        cpu=lambda x, k: shifted_conv(x, k, strides, pads),
        default=lambda x, k: grouped_conv(x, k, strides, pads),
    )


def _depthwise_forward(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw 1 c"], strides: tuple[int, int], pads: Pads
) -> tuple[Float[Array, "b oh ow c"], _Pair]:
    return _depthwise(images, kernel, strides, pads), (images, kernel)


def _depthwise_backward(
    strides: tuple[int, int], pads: Pads, residuals: _Pair, grad: Float[Array, "b oh ow c"]
) -> _Pair:
    return lax.platform_dependent(
        *residuals,
        grad,
        cpu=lambda x, k, g: shifted_gradients(x, k, g, strides, pads),
        default=lambda x, k, g: grouped_gradients(x, k, g, strides, pads),
    )


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def grouped_gradients(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    grad: Float[Array, "b oh ow c"],
    strides: tuple[int, int],
    pads: Pads,
) -> _Pair:
    """By the images and by the kernel, as XLA derives them from `grouped_conv`."""
    return jax.vjp(lambda x, k: grouped_conv(x, k, strides, pads), images, kernel)[1](grad)


def shifted_gradients(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    grad: Float[Array, "b oh ow c"],
    strides: tuple[int, int],
    pads: Pads,
) -> _Pair:
    """The same as sums of shifted products."""
    by_images = _shifted_input_gradient(images, kernel, grad, strides, pads)
    return by_images, _shifted_kernel_gradient(images, kernel, grad, strides, pads)


def _shifted_input_gradient(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    grad: Float[Array, "b oh ow c"],
    strides: tuple[int, int],
    pads: Pads,
) -> Float[Array, "b h w c"]:
    """The full correlation of the gradient, spread out by the strides, with the kernel turned by 180 degrees."""
    spread = []
    for axis in range(2):
        (low, _), stride, taps = pads[axis], strides[axis], kernel.shape[axis]
        length = (grad.shape[1 + axis] - 1) * stride + 1
        before = taps - 1 - low
        spread.append((before, images.shape[1 + axis] + taps - 1 - before - length, stride - 1))
    grad = lax.pad(grad, jnp.zeros((), grad.dtype), ((0, 0, 0), *spread, (0, 0, 0)))
    return shifted_conv(grad, kernel[::-1, ::-1], (1, 1), ((0, 0), (0, 0)))


def _shifted_kernel_gradient(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    grad: Float[Array, "b oh ow c"],
    strides: tuple[int, int],
    pads: Pads,
) -> Float[Array, "kh kw 1 c"]:
    """The sums of the products of the gradient with what each tap meets, row by row."""
    dtype = accumulation_dtype(images)
    padded = pad(images, pads)
    height, width = kernel.shape[:2]
    reach = (grad.shape[2] - 1) * strides[1] + 1

    def products(row: Int[Array, ""]) -> list[Float[Array, "b ow c"]]:
        met = lax.dynamic_slice_in_dim(padded, row * strides[0], height, axis=1).astype(dtype)
        of_row = lax.dynamic_index_in_dim(grad, row, axis=1, keepdims=False).astype(dtype)
        return [met[:, i, j : j + reach : strides[1]] * of_row for i in range(height) for j in range(width)]

    sums = sums_by_row(products, grad.shape[1])
    return jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)
