"""What a layer of a functional model is called with, in the forms of Keras 2 and 3."""

from typing import Any

from cnn_jax.errors import WeightsError
from cnn_jax.models.keras_graph.values import Config, Value, at, number

OPERANDS = {"x", "y", "x1", "x2"}
"""What Keras' operations call the things that they take."""
MOST_VALUES = 1000
"""That a layer takes; the layers of DenseNet join two each, those of NASNet six."""


def values_of(call: Any, name: str) -> list[Value]:
    """What a layer is called with, in the form of Keras 3, `{"args", "kwargs"}`, or 2, `[[name, 0, 0, {…}], …]`."""
    if isinstance(call, dict):
        named = at(call.get("kwargs", {}), dict, f"{name}: kwargs")
        waiting = [*at(call.get("args", []), list, f"{name}: args"), *_used(named, name)]
    else:
        waiting = []
        for item in [call] if _is_reference(call) else at(call, list, f"{name}: inbound_nodes"):
            if not _is_reference(item):
                raise WeightsError(f"the layer {name}: {str(item)[:60]!r} does not say which output it takes")
            waiting.append({"class_name": "__keras_tensor__", "config": {"keras_history": item[:3]}})
            waiting += _used(at(item[3], dict, f"{name}: kwargs") if len(item) > 3 else {}, name)
    values: list[Value] = []
    waiting.reverse()
    while waiting:
        value = waiting.pop()
        if isinstance(value, list) and _is_reference(value):
            value = {"config": {"keras_history": value}}
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            config = at(value.get("config"), dict, f"{name}: an input")
            values.append(_tensor(config.get("keras_history"), name))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            values.append(number(value, f"{name}: an input"))
        else:
            raise WeightsError(f"the layer {name} is called with {str(value)[:60]!r}, which cannot be read")
    if not any(isinstance(value, str) for value in values) or len(values) > MOST_VALUES:
        raise WeightsError(f"the layer {name} takes no output of another layer")
    return values


def _used(named: Config, name: str) -> list[Any]:
    """The arguments by name that count: those of operations; those of layers say only how to run."""
    given = {key: value for key, value in named.items() if value is not None and key != "name"}
    if given.pop("training", False):
        raise WeightsError(f"the layer {name} is called with training=True, so it would depend on chance")
    if not given.keys() <= OPERANDS:
        raise WeightsError(f"the layer {name} is called with {', '.join(given)}, which cannot be read")
    return list(given.values())


def _is_reference(item: Any) -> bool:
    """`[name, 0, 0]`, perhaps with arguments by name."""
    return isinstance(item, list) and len(item) in (3, 4) and isinstance(item[0], str) and isinstance(item[1], int)


def _tensor(history: Any, name: str) -> str:
    if not _is_reference(history) or history[2] != 0:
        raise WeightsError(f"the layer {name} takes {str(history)[:60]}, which is no layer with one output")
    return str(history[0])


def endings(value: Any, what: str) -> list[str]:
    """Names of layers: `[name, 0, 0]`, or a list of such; both are written."""
    items = [value] if _is_reference(value) else at(value, list, what)
    return [_tensor(item, what) for item in items]
