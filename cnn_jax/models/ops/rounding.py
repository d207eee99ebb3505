"""The rounding of int8, with a gradient that passes it (a straight-through estimator)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

STEPS = 255
"""Between the 256 values of a byte."""
LARGEST = 127
"""Of a weight: TensorFlow Lite keeps weights symmetric, from -127 to 127."""


def fake_quantize(x: Float[Array, "*shape"], low: Float[Array, ""], high: Float[Array, ""]) -> Float[Array, "*shape"]:
    """Each value as the nearest of 256 between `low` and `high`, moved so that 0 is one of them.

    The gradient is 1 between the least and the largest of them, and 0 outside.

    Args:
        low: not above 0.
        high: not below 0.
    """
    scale = jnp.maximum((high - low) / STEPS, jnp.finfo(jnp.float32).tiny)
    zero = jnp.clip(jnp.round(-low / scale), 0, STEPS)
    inside = jnp.clip(x, -zero * scale, (STEPS - zero) * scale)
    return inside + jax.lax.stop_gradient(jnp.round(inside / scale) * scale - inside)


def fake_quantize_kernel(kernel: Float[Array, "*size f"]) -> Float[Array, "*size f"]:
    """A kernel with the values that int8 leaves it, one scale for each channel; the gradient is 1."""
    largest = jnp.abs(jax.lax.stop_gradient(kernel)).max(tuple(range(kernel.ndim - 1)))
    scale = jnp.maximum(largest / LARGEST, jnp.finfo(jnp.float32).tiny)
    return kernel + jax.lax.stop_gradient(jnp.round(kernel / scale) * scale - kernel)
