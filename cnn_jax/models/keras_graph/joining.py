"""Keras' layers and operations that take several inputs, or an input and a number."""

from collections.abc import Callable

from cnn_jax.models.keras_graph.converted import Converted
from cnn_jax.models.keras_graph.fields import Fields
from cnn_jax.models.layers import Add, Merge
from cnn_jax.models.merging import Concatenate, Multiply, ScaledAdd, Subtract
from cnn_jax.models.scaling import Rescale

OPERATIONS = {
    "Add": "Add",
    "Multiply": "Multiply",
    "Subtract": "Subtract",
    "TrueDivide": "TrueDivide",
    "Divide": "TrueDivide",
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.multiply": "Multiply",
    "math.subtract": "Subtract",
    "math.truediv": "TrueDivide",
}
"""Keras' operations, and the functions that Keras 2 calls by name."""


def merge(kind: type[Merge]) -> Callable[[Fields], Converted]:
    """Such as `Add`; by `kind`."""

    def convert(fields: Fields) -> Converted:
        if len(fields.node.inputs) < len(fields.node.arguments):
            return operation(fields)
        if kind is Subtract and len(fields.node.inputs) != 2:
            fields.fail(f"it takes {len(fields.node.inputs)} inputs")
        return Converted((kind(inputs=fields.node.inputs, name=fields.node.name),))

    return convert


def concatenate(fields: Fields) -> Converted:
    """`Concatenate`."""
    axis = fields.value("axis", -1)
    if axis not in (-1, 1, 2, 3):
        fields.fail(f"axis={str(axis)[:40]} is none of the maps")
    return Converted((Concatenate(axis, inputs=fields.node.inputs, name=fields.node.name),))


def scaled_add(fields: Fields) -> Converted:
    """Inception-ResNet's `CustomScaleLayer`."""
    if len(fields.node.inputs) != 2:
        fields.fail(f"it takes {len(fields.node.inputs)} inputs")
    return Converted((ScaledAdd(fields.number("scale", 1), inputs=fields.node.inputs, name=fields.node.name),))


def operation(fields: Fields) -> Converted:
    """`x + 3`, `x * y` and their like, between outputs, or of an output and a number."""
    node = fields.node
    kind = OPERATIONS.get(str(fields.value("function", node.kind)))
    if kind is None or len(node.arguments) != 2:
        fields.fail("this operation is not known; use the layer that does the same, or Rescaling")
    if len(node.inputs) == 2:
        if kind == "TrueDivide":
            fields.fail("a division of two outputs is not known")
        merge = {"Add": Add, "Multiply": Multiply, "Subtract": Subtract}[kind]
        return Converted((merge(inputs=node.inputs, name=node.name),))
    first, second = node.arguments
    constant = second if isinstance(first, str) else first
    assert isinstance(constant, float)
    if kind == "TrueDivide" and (not constant or not isinstance(first, str)):
        fields.fail("it divides by 0, or by what the network computes")
    scale, offset = {
        "Add": (1.0, constant),
        "Multiply": (constant, 0.0),
        "Subtract": (1.0, -constant) if isinstance(first, str) else (-1.0, constant),
        "TrueDivide": (1 / (constant or 1), 0.0),
    }[kind]
    return Converted((Rescale((scale,), (offset,), name=node.name),))
