"""Values of a description, each of the kind and size that it must have, or an error that names it."""

import math
import re
from collections.abc import Sequence
from typing import Any

from cnn_jax.errors import WeightsError

Config = dict[str, Any]
Value = str | float
"""A name, or a number."""

MOST = 2**16
"""Of sizes, filters and units: more than any network has, and few enough to count with."""
MOST_WINDOW = 1024
"""Of rows and columns of a kernel or pooling, and their steps."""


def at(value: Any, kind: type, what: str) -> Any:
    """`value`, if it is a `dict` or `list`."""
    if not isinstance(value, kind):
        raise WeightsError(f"{what}: {str(value)[:60]!r} is no {'object' if kind is dict else 'list'}")
    return value


def text(value: Any, what: str) -> str:
    """A name: not empty, not longer than names are, without line breaks."""
    if not isinstance(value, str) or not value or len(value) > 256 or not value.isprintable():
        raise WeightsError(f"{what}: {str(value)[:60]!r} is no name")
    return value


def integer(value: Any, what: str, least: int = 1, most: int = MOST) -> int:
    """A whole number from `least` to `most`."""
    whole = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value == int(value))
    if isinstance(value, bool) or not whole or not least <= value <= most:
        raise WeightsError(f"{what}={str(value)[:60]} must be a whole number from {least} to {most:,}")
    return int(value)


def number(value: Any, what: str, least: float = -1e9, most: float = 1e9) -> float:
    """A finite number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise WeightsError(f"{what}={str(value)[:60]} must be a number from {least:g} to {most:g}")
    return float(value)


def numbers(value: Any, what: str) -> tuple[float, ...]:
    """A number, or a list of them, perhaps inside lists of one."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        (value,) = value
    items = value if isinstance(value, list) else [value]
    if len(items) > MOST:
        raise WeightsError(f"{what} has {len(items):,} numbers")
    return tuple(number(item, what) for item in items)


def flag(value: Any, what: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise WeightsError(f"{what}={str(value)[:60]} must be true or false")
    return value


def pair(value: Any, what: str, least: int = 1, most: int = MOST_WINDOW) -> tuple[int, int]:
    """Rows and columns: a whole number for both, or two."""
    items = value if isinstance(value, list | tuple) else (value, value)
    if len(items) != 2:
        raise WeightsError(f"{what}={str(value)[:60]} must be one or two whole numbers")
    return integer(items[0], what, least, most), integer(items[1], what, least, most)


def sides(value: Any, what: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows before and after, columns before and after: from a number, two, or two pairs."""
    items = value if isinstance(value, list | tuple) else (value, value)
    if len(items) != 2:
        raise WeightsError(f"{what}={str(value)[:60]} must be a number, two, or two pairs")
    return pair(items[0], what, 0), pair(items[1], what, 0)


def shape(value: Any, what: str) -> Sequence[Any]:
    """Sizes, of which some may be open (None)."""
    items = at(value, list, what)
    if not 1 <= len(items) <= 8:
        raise WeightsError(f"{what}: {str(value)[:60]} has {len(items)} axes")
    return [None if item is None else integer(item, what, 1) for item in items]


def snake_case(name: str) -> str:
    """A class such as `DepthwiseConv2D` as Keras writes it in a file: `depthwise_conv2d`."""
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()
