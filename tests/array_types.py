"""What jaxtyping's import hook checks calls with: the annotations of arrays, of arguments and results.

The other annotations are mypy's. Of dataclasses, fields of NumPy arrays are checked alone: JAX makes those of its own
arrays anew with anything in their place (shapes, shardings, the axes of a `vmap`).
"""

from collections.abc import Callable
from typing import Any, Union, get_args

import jax
import jaxtyping
import numpy as np
from beartype import beartype
from jaxtyping import AbstractArray

jaxtyping.Array = Union[jax.Array, np.ndarray]  # noqa: UP007  (as a class of annotations)


def _arrays(hint: Any) -> set[type]:
    """The kinds of arrays that an annotation names."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return {hint.array_type}
    parts = (part for each in get_args(hint) for part in (each if isinstance(each, list) else [each]))
    return set().union(*map(_arrays, parts))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which raises an error where an array has another shape or dtype than its annotation says."""
    hints = {name: hint for name, hint in function.__annotations__.items() if _arrays(hint)}
    if function.__name__ == "__init__":
        hints = {name: hint for name, hint in hints.items() if _arrays(hint) == {np.ndarray}}
    function.__annotations__ = hints
    return beartype(function) if hints else function
