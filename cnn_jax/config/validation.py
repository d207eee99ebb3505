"""Checks that turn an impossible setting into one clear error."""

import difflib
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from cnn_jax.errors import ConfigError

LISTED = 100
"""Names that an error lists, at most."""


def require(holds: bool, name: str, value: Any, rule: str) -> None:
    """Raise the one error of an impossible value."""
    if not holds:
        raise ConfigError(f"{name}={value!r} is not possible: it must be {rule}")


def near(name: str, names: Sequence[str]) -> str:
    """Those of the names that `name` may have meant, for an error; the first ones where none is near."""
    return ", ".join(difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[:LISTED])


def check_types(section: Any, prefix: str) -> None:
    """Every field has the type that it is declared with; whole numbers become float where that is asked for."""
    for name, kind in typing.get_type_hints(type(section)).items():
        value = getattr(section, name)
        if kind is float and type(value) is int:
            object.__setattr__(section, name, float(value))
        elif not _has_type(value, kind):
            require(False, f"{prefix}{name}", value, _describe_type(kind))


def _has_type(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(_has_type(item, arguments[0]) for item in value)
    if kind is float:
        return type(value) in (float, int)
    return type(value) is kind


def _describe_type(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe_type(argument) for argument in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        of = arguments[0]
        return f"a list of {_describe_type(of) if typing.get_origin(of) is Literal else of.__name__}"
    return "None" if kind is type(None) else f"{kind.__name__}"


def is_finite(value: float, *, above: float = 0, or_equal: bool = False) -> bool:
    """Whether `value` is a finite number above (or equal to) a bound."""
    return math.isfinite(value) and (value >= above if or_equal else value > above)
