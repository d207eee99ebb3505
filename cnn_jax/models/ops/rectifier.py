"""The rectifiers of the networks, with TensorFlow's gradient: zero at the bends."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Rectifier = Literal["relu", "relu6"]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def rectify(x: Float[Array, "*shape"], rectifier: Rectifier | None) -> Float[Array, "*shape"]:
    """`max(x, 0)` ("relu"), `min(max(x, 0), 6)` ("relu6") or `x` (None)."""
    if rectifier is None:
        return x
    return jnp.maximum(x, 0) if rectifier == "relu" else jnp.clip(x, 0, 6)


def passes(x: Float[Array, "*shape"], rectifier: Rectifier | None) -> Bool[Array, "*shape"]:
    """Where the gradient goes through: between the bends, not at them."""
    if rectifier is None:
        return jnp.ones_like(x, bool)
    return x > 0 if rectifier == "relu" else (x > 0) & (x < 6)


@rectify.defjvp
def _rectify_jvp(
    rectifier: Rectifier | None, primals: tuple[Float[Array, "*shape"]], tangents: tuple[Float[Array, "*shape"]]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    (x,), (tangent,) = primals, tangents
    return rectify(x, rectifier), jnp.where(passes(x, rectifier), tangent, 0)
