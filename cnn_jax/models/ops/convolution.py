"""Convolution over all channels, in the form that runs fastest where it is lowered; the result is the same sum."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.models.ops.shifts import Pads, accumulation_dtype, explicit_pads, output_size, pad, taps
from cnn_jax.models.ops.winograd import pays, winograd_conv
from cnn_jax.runtime.compiling import computed_once

FEW_TERMS = 32
"""Products in an output (kernel rows x columns x input channels) up to which the sum over taps is used on CPU."""

_Pair = tuple[Float[Array, "b h w c"], Float[Array, "kh kw c f"]]
"""Images and kernel, or the gradients by them."""


def conv(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw in f"],
    strides: tuple[int, int],
    padding: str | Pads,
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Float[Array, "b oh ow f"]:
    """Convolve; the kernel takes c / groups channels.

    - A 1x1 convolution is one matrix product over the flattened pixels. On XLA:CPU its kernel gradient, a contraction
      over one axis in place of three, is 2 to 3 times faster; on accelerators it is the same work.
    - A 3x3 convolution of many channels with stride 1 takes half of the multiplications on CPU (`models.winograd`).
    - With few input channels (the first layer of a network), on CPU the forward pass is the sum over taps and
      channels of shifted multiply-adds: 3x3 over RGB with stride 2 ran 6 to 12 times faster than XLA:CPU's own.
    """
    height, width, channels, features = kernel.shape
    pads = _pads(images.shape, kernel.shape, strides, padding, dilation)
    if dilation != (1, 1) or groups != 1:
        return plain_conv(images, kernel, strides, pads, dilation, groups)
    if (height, width) == strides == (1, 1) and pads == ((0, 0), (0, 0)):
        return (images.reshape(-1, channels) @ kernel[0, 0]).reshape(*images.shape[:3], features)
    if height * width * channels <= FEW_TERMS:
        return _thin_conv(images, kernel, strides, pads)
    if has_fast_form(images, kernel, strides, pads):
        return _fast_conv(images, kernel, pads)
    return plain_conv(images, kernel, strides, pads)


def has_fast_form(
    images: Float[Array | jax.ShapeDtypeStruct, "b h w c"],
    kernel: Float[Array | jax.ShapeDtypeStruct, "kh kw in f"],
    strides: tuple[int, int],
    padding: str | Pads,
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> bool:
    """Whether `conv` of such arrays runs as `winograd_conv` on CPU."""
    if strides != (1, 1) or dilation != (1, 1) or groups != 1:
        return False
    return pays(images.shape, kernel.shape, _pads(images.shape, kernel.shape, strides, padding, dilation), images.dtype)


def _pads(
    images: Sequence[int],
    kernel: Sequence[int],
    strides: tuple[int, int],
    padding: str | Pads,
    dilation: tuple[int, int],
) -> Pads:
    reach = [(size - 1) * step + 1 for size, step in zip(kernel[:2], dilation, strict=True)]
    return explicit_pads(images[1:3], reach, strides, padding)


def plain_conv(
    images: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw in f"],
    strides: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Float[Array, "b oh ow f"]:
    """XLA's own convolution, and the reference for the tests."""
    return lax.conv_general_dilated(
        images,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def shifted_thin_conv(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c f"], strides: tuple[int, int], pads: Pads
) -> Float[Array, "b oh ow f"]:
    """The sum over taps and input channels of the shifted channel times its row of weights."""
    dtype = accumulation_dtype(images)
    padded = pad(images, pads)
    windows = taps(padded, kernel.shape, strides, output_size(padded, kernel, strides))
    terms = (
        window[..., c : c + 1].astype(dtype) * kernel[i, j, c].astype(dtype)
        for i, j, window in windows
        for c in range(kernel.shape[2])
    )
    return functools.reduce(jnp.add, terms).astype(images.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _thin_conv(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c f"], strides: tuple[int, int], pads: Pads
) -> Float[Array, "b oh ow f"]:
    return lax.platform_dependent(
        images,
        kernel,
        cpu=computed_once(lambda x, k: shifted_thin_conv(x, k, strides, pads)),
        default=lambda x, k: plain_conv(x, k, strides, pads),
    )


def _thin_conv_forward(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c f"], strides: tuple[int, int], pads: Pads
) -> tuple[Float[Array, "b oh ow f"], _Pair]:
    return _thin_conv(images, kernel, strides, pads), (images, kernel)


def _thin_conv_backward(
    strides: tuple[int, int], pads: Pads, residuals: _Pair, grad: Float[Array, "b oh ow f"]
) -> _Pair:
    """XLA's own gradients: for them the shifted form would be the slower one."""
    return jax.vjp(lambda x, k: plain_conv(x, k, strides, pads), *residuals)[1](grad)


_thin_conv.defvjp(_thin_conv_forward, _thin_conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _fast_conv(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c f"], pads: Pads
) -> Float[Array, "b oh ow f"]:
    return lax.platform_dependent(
        images,
        kernel,
        cpu=lambda x, k: winograd_conv(x, k, pads),
        default=lambda x, k: plain_conv(x, k, (1, 1), pads),
    )


def _fast_conv_forward(
    images: Float[Array, "b h w c"], kernel: Float[Array, "kh kw c f"], pads: Pads
) -> tuple[Float[Array, "b oh ow f"], _Pair]:
    return _fast_conv(images, kernel, pads), (images, kernel)


def _fast_conv_backward(pads: Pads, residuals: _Pair, grad: Float[Array, "b oh ow f"]) -> _Pair:
    """The images' gradient is a 3x3 convolution of stride 1 too; the kernel's is XLA's own."""
    images, kernel = residuals
    rows, columns = ((2 - low, 2 - high) for low, high in pads)
    of_images = conv(grad, kernel[::-1, ::-1].swapaxes(2, 3), (1, 1), (rows, columns))
    (of_kernel,) = jax.vjp(lambda k: plain_conv(images, k, (1, 1), pads), kernel)[1](grad)
    return of_images, of_kernel


_fast_conv.defvjp(_fast_conv_forward, _fast_conv_backward)
