"""The functions that bend what a layer puts out, with Keras' arithmetic, by the names that Keras 3 has for them."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.models.ops.rectifier import Rectifier, rectify

ActivationKind = (
    Rectifier
    | Literal[
        "elu",
        "exponential",
        "gelu",
        "gelu_tanh",
        "hard_sigmoid",
        "hard_silu",
        "mish",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "tanh",
    ]
)
"""`gelu_tanh` is Keras' `gelu` with `approximate=True`."""

RECTIFIERS: tuple[Rectifier, ...] = get_args(Rectifier)


def _hard_sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """As Keras 3 has it; Keras 2 had clip(0.2 x + 0.5, 0, 1)."""
    return rectify(x + 3, "relu6") / 6


_FUNCTIONS: dict[str, Callable[[Float[Array, "..."]], Float[Array, "..."]]] = {
    "elu": jax.nn.elu,
    "exponential": jnp.exp,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": lambda x: x * _hard_sigmoid(x),
    "mish": jax.nn.mish,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "softmax": jax.nn.softmax,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "tanh": jnp.tanh,
}


def activate(x: Float[Array, "*shape"], kind: ActivationKind | None) -> Float[Array, "*shape"]:
    """The function of that name, of each value; `softmax` over the last axis. None: as it is."""
    if kind is None or kind in RECTIFIERS:
        return rectify(x, kind)
    return _FUNCTIONS[kind](x)
