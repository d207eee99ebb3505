"""Batch normalisation with a rectifier folded in, as pure functions with a hand-written gradient.

Automatic differentiation of batch normalisation and a rectifier makes XLA:CPU read the activations many times.
Written out, the gradient needs two sums, computed together on CPU, and one pass.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32, Int

from cnn_jax.models.ops.rectifier import Rectifier, passes, rectify
from cnn_jax.models.ops.sums import sums_by_row

_AXES = (0, 1, 2)
_Normalised = tuple[Float[Array, "b h w c"], Float32[Array, " c"], Float32[Array, " c"]]
"""The result, the mean and the variance."""


def inference_factor(scale: Float32[Array, " c"], var: Float32[Array, " c"], epsilon: float) -> Float32[Array, " c"]:
    """What inference multiplies each channel by."""
    return scale * lax.rsqrt(var + epsilon)


def batch_norm_inference(
    x: Float[Array, "b *size c"],
    scale: Float32[Array, " c"],
    bias: Float32[Array, " c"],
    mean: Float32[Array, " c"],
    var: Float32[Array, " c"],
    epsilon: float,
    rectifier: Rectifier | None,
    folded: bool = False,
) -> Float[Array, "b *size c"]:
    """Normalise with the moving statistics, then rectify; computed in float32, returned as given.

    Args:
        folded: the kernel that made `x` is multiplied by the `inference_factor` already.
    """
    factor = inference_factor(scale, var, epsilon)
    scaled = x if folded else x * factor
    return rectify(scaled + (bias - mean * factor), rectifier).astype(x.dtype)


def batch_norm_training(
    x: Float[Array, "b h w c"],
    scale: Float32[Array, " c"],
    bias: Float32[Array, " c"],
    reference: Float32[Array, " c"],
    epsilon: float,
    rectifier: Rectifier | None,
) -> _Normalised:
    """Normalise with its own statistics, then rectify.

    Args:
        reference: any value near the mean (the moving mean): the variance is computed around it in one
            pass, and is then as exact as the two-pass formula once the reference is within a few deviations.

    Returns:
        The result in the dtype of `x`, and the mean and the biased variance without a gradient.
    """
    return _training(x, scale, bias, lax.stop_gradient(reference), epsilon, rectifier)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _training(
    x: Float[Array, "b h w c"],
    scale: Float32[Array, " c"],
    bias: Float32[Array, " c"],
    reference: Float32[Array, " c"],
    epsilon: float,
    rectifier: Rectifier | None,
) -> _Normalised:
    return _training_forward(x, scale, bias, reference, epsilon, rectifier)[0]


def _training_forward(
    x: Float[Array, "b h w c"],
    scale: Float32[Array, " c"],
    bias: Float32[Array, " c"],
    reference: Float32[Array, " c"],
    epsilon: float,
    rectifier: Rectifier | None,
) -> tuple[_Normalised, tuple[Any, ...]]:
    centred = x.astype(jnp.float32) - reference
    offset = centred.mean(_AXES)
    var = jnp.maximum(jnp.square(centred).mean(_AXES) - jnp.square(offset), 0)
    mean = offset + reference
    y = batch_norm_inference(x, scale, bias, mean, var, epsilon, rectifier)
    return (y, mean, var), (x, scale, bias, mean, var)


def _training_backward(
    epsilon: float, rectifier: Rectifier | None, residuals: tuple[Any, ...], grads: _Normalised
) -> tuple[Float[Array, "b h w c"], Float32[Array, " c"], Float32[Array, " c"], Float32[Array, " c"]]:
    x, scale, bias, mean, var = residuals
    inverse = lax.rsqrt(var + epsilon)

    def terms(
        x: Float[Array, "b *size c"], grad: Float[Array, "b *size c"]
    ) -> tuple[Float32[Array, "b *size c"], Float32[Array, "b *size c"]]:
        """What the sums are over: the gradient by the normalised and scaled input, and by the scale."""
        normalised = (x.astype(jnp.float32) - mean) * inverse
        passed = jnp.where(passes(normalised * scale + bias, rectifier), grad.astype(jnp.float32), 0)
        return passed, passed * normalised

    def by_row(x: Float[Array, "b h w c"], grad: Float[Array, "b h w c"]) -> list[Float32[Array, " c"]]:
        def of_row(row: Int[Array, ""]) -> tuple[Float32[Array, "b w c"], Float32[Array, "b w c"]]:
            return terms(*(lax.dynamic_index_in_dim(a, row, 1, keepdims=False) for a in (x, grad)))

        return sums_by_row(of_row, x.shape[1])

    def plain(x: Float[Array, "b h w c"], grad: Float[Array, "b h w c"]) -> list[Float32[Array, " c"]]:
        return [term.sum(_AXES) for term in terms(x, grad)]

    grad_bias, grad_scale = lax.platform_dependent(x, grads[0], cpu=by_row, default=plain)
    normalised, passed = (x.astype(jnp.float32) - mean) * inverse, terms(x, grads[0])[0]
    grad_x = scale * inverse * (passed - (grad_bias + normalised * grad_scale) / (x.size // x.shape[-1]))
    return grad_x.astype(x.dtype), grad_scale, grad_bias, jnp.zeros_like(mean)


_training.defvjp(_training_forward, _training_backward)
