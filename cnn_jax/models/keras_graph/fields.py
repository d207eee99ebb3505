"""The fields of a layer's description, by kind; every error names the layer, its class and the field."""

from collections.abc import Sequence
from typing import Any, NoReturn, get_args

from cnn_jax.errors import WeightsError
from cnn_jax.models.keras_graph import values
from cnn_jax.models.keras_graph.parse import Node
from cnn_jax.models.ops.activations import ActivationKind
from cnn_jax.models.ops.shifts import Pads

ACTIVATIONS: dict[str, str | None] = {
    **{kind: kind for literal in get_args(ActivationKind) for kind in get_args(literal) or (literal,)},
    "linear": None,
    "swish": "silu",
    "hard_swish": "hard_silu",
}
"""Keras' names of functions to ours."""


class Fields:
    """What the description of one layer says."""

    def __init__(self, node: Node, keras_version: int) -> None:
        self.node = node
        self.keras_version = keras_version
        self.what = f"the layer {node.name} ({node.kind})"

    def fail(self, reason: str) -> NoReturn:
        """Raise the error of this layer."""
        raise WeightsError(f"{self.what}: {reason}")

    def value(self, name: str, default: Any) -> Any:
        """As it is written; `default` where it is not, or null."""
        found = self.node.config.get(name)
        return default if found is None else found

    def integer(self, name: str, default: int | None = None, least: int = 1) -> int:
        """A whole number."""
        return values.integer(self.value(name, default), f"{self.what}: {name}", least)

    def number(self, name: str, default: float, least: float = -1e9, most: float = 1e9) -> float:
        """A finite number."""
        return values.number(self.value(name, default), f"{self.what}: {name}", least, most)

    def rate(self, name: str = "rate") -> float:
        """A share below 1."""
        return self.number(name, 0.0, 0.0, 0.999999)

    def numbers(self, name: str, default: float) -> tuple[float, ...]:
        """A number, or a list of them."""
        return values.numbers(self.value(name, default), f"{self.what}: {name}")

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        return values.flag(self.value(name, default), f"{self.what}: {name}")

    def pair(self, name: str, default: Sequence[int] | int) -> tuple[int, int]:
        """Rows and columns, at least 1."""
        return values.pair(self.value(name, default), f"{self.what}: {name}")

    def sides(self, name: str) -> Pads:
        """Rows before and after, columns before and after."""
        return values.sides(self.value(name, 1), f"{self.what}: {name}")

    def sizes(self, name: str, least: int = 1) -> tuple[int, ...]:
        """A list of whole numbers."""
        given = values.at(self.value(name, None), list, f"{self.what}: {name}")
        if len(given) > 8:
            self.fail(f"{name} has {len(given)} axes")
        return tuple(values.integer(size, f"{self.what}: {name}", least, 2**31) for size in given)

    def padding(self) -> str:
        """`SAME` or `VALID`."""
        given = self.value("padding", "valid")
        if given not in ("same", "valid"):
            self.fail(f"padding={str(given)[:40]!r} must be same or valid")
        return str(given).upper()

    def channels_last(self) -> None:
        """Raise the error of a layer that has channels before rows."""
        if self.value("data_format", "channels_last") != "channels_last":
            self.fail("it has the channels first; save the model anew with data_format='channels_last'")

    def last_axis(self) -> int | None:
        """The axis that a layer works along, which has to be the last one; None where it counts from the end.

        Raises:
            WeightsError: another one, as far as that can be known without the shapes.
        """
        given = self.value("axis", -1)
        (axis,) = given if isinstance(given, list) and len(given) == 1 else (given,)
        if axis not in (-1, 1, 2, 3) or isinstance(axis, bool):
            self.fail(f"axis={str(given)[:40]}: only the last axis, that of the channels, can be read")
        return None if axis == -1 else int(axis)

    def activation(self, name: str = "activation") -> Any:
        """The name of a function, as `activations.activate` knows it; None is the linear one."""
        given = self.node.config.get(name)
        if isinstance(given, dict):  # of Keras 2.13 and later: {"class_name": "function", "config": "relu6", …}
            given = given.get("config")
        given = "linear" if given is None else given
        if given == "hard_sigmoid" and self.keras_version == 2:
            self.fail(
                "hard_sigmoid is another function in Keras 3; save the model in Keras 3 with the one that is meant"
            )
        if not isinstance(given, str) or given not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            self.fail(f"the activation {str(given)[:60]!r} is not known; those that are: {known}")
        return ACTIVATIONS[given]
