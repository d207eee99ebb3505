"""Keras' layers that have arrays, or scale by constants."""

from typing import Any

from cnn_jax.models.keras_graph.converted import Converted, Slot, Slots, as_depthwise, as_stored
from cnn_jax.models.keras_graph.fields import Fields
from cnn_jax.models.layers import BatchNorm, Conv, Dense, DepthwiseConv
from cnn_jax.models.scaling import ChannelScale, LayerNorm, Normalise, ParametricRelu, Rescale


def convolution(fields: Fields) -> Converted:
    """`Conv2D`."""
    fields.channels_last()
    groups, features = fields.integer("groups", 1), fields.integer("filters")
    if features % groups:
        fields.fail(f"filters={features} in groups={groups}")
    layer = Conv(features, **_window(fields), groups=groups, **_ending(fields))
    return _with_kernel(fields, layer, "kernel")


def _window(fields: Fields) -> dict[str, Any]:
    return {
        "kernel_size": fields.pair("kernel_size", (0, 0)),
        "strides": fields.pair("strides", (1, 1)),
        "padding": fields.padding(),
        "dilation": fields.pair("dilation_rate", (1, 1)),
    }


def _ending(fields: Fields) -> dict[str, Any]:
    return {
        "use_bias": fields.flag("use_bias", True),
        "activation": fields.activation(),
        "name": fields.node.name,
    }


def _with_kernel(fields: Fields, layer: Any, names: str, change: Any = as_stored) -> Converted:
    slots = Slots(fields.node.name)
    slots.add(names, "kernel", change=change)
    if layer.use_bias:
        slots.add("bias", "bias")
    if fields.value("quantization_config", None) is not None:
        fields.fail("its weights are quantised; save the model without that")
    return Converted((layer,), tuple(slots.found))


def depthwise(fields: Fields) -> Converted:
    """`DepthwiseConv2D`."""
    fields.channels_last()
    multiplier = fields.integer("depth_multiplier", 1)
    layer = DepthwiseConv(**_window(fields), multiplier=multiplier, **_ending(fields))
    return _with_kernel(fields, layer, "depthwise_kernel kernel", as_depthwise)


def separable(fields: Fields) -> Converted:
    """A depthwise convolution, `NAME_depthwise`, and one of 1 x 1."""
    fields.channels_last()
    name = f"{fields.node.name}_depthwise"
    depthwise = DepthwiseConv(**_window(fields), multiplier=fields.integer("depth_multiplier", 1), name=name)
    pointwise = Conv(fields.integer("filters"), (1, 1), **_ending(fields))
    slots = _with_kernel(fields, pointwise, "pointwise_kernel").slots
    first = Slot(("depthwise_kernel",), name, leaf="kernel", change=as_depthwise)
    return Converted((depthwise, pointwise), (first, *slots))


def dense(fields: Fields) -> Converted:
    """`Dense`."""
    if fields.value("lora_rank", None) is not None:
        fields.fail("it has LoRA; merge it and save the model anew")
    return _with_kernel(fields, Dense(fields.integer("units"), **_ending(fields)), "kernel")


def batch_norm(fields: Fields) -> Converted:
    """`BatchNormalization`."""
    axis = fields.last_axis()
    layer = BatchNorm(
        epsilon=fields.number("epsilon", 1e-3, 0, 1e3),
        momentum=fields.number("momentum", 0.99, 0, 1),
        use_scale=fields.flag("scale", True),
        use_bias=fields.flag("center", True),
        name=fields.node.name,
    )
    slots = Slots(fields.node.name)
    _add_scale_and_bias(slots, layer)
    slots.add("moving_mean", "mean", "batch_stats")
    slots.add("moving_variance", "var", "batch_stats")
    return Converted((layer,), tuple(slots.found), axis)


def _add_scale_and_bias(slots: Slots, layer: BatchNorm | LayerNorm) -> None:
    if layer.use_scale:
        slots.add("gamma", "scale")
    if layer.use_bias:
        slots.add("beta", "bias")


def layer_norm(fields: Fields) -> Converted:
    """`LayerNormalization`."""
    axis = fields.last_axis()
    if fields.flag("rms_scaling", False):
        fields.fail("rms_scaling=true is not known here")
    epsilon = fields.number("epsilon", 1e-3, 0, 1e3)
    layer = LayerNorm(epsilon, fields.flag("scale", True), fields.flag("center", True), name=fields.node.name)
    slots = Slots(fields.node.name)
    _add_scale_and_bias(slots, layer)
    return Converted((layer,), tuple(slots.found), axis)


def normalization(fields: Fields) -> Converted:
    """`Normalization`, by constants of its description or by its arrays."""
    if fields.flag("invert", False):
        fields.fail("invert=true is not known here")
    by_channel = fields.node.config.get("axis", -1) not in (None, [])
    axis = fields.last_axis() if by_channel else None
    if fields.node.config.get("mean") is not None:
        mean, var = fields.numbers("mean", 0), fields.numbers("variance", 1)
        return Converted((Normalise(mean, var, by_channel, name=fields.node.name),), axis=axis)
    slots = Slots(fields.node.name)
    slots.add("mean", "mean", "batch_stats")
    slots.add("variance", "var", "batch_stats")
    layer = Normalise(by_channel=by_channel, name=fields.node.name)
    return Converted((layer,), (*slots.found, Slot(("count",))), axis)


def rescaling(fields: Fields) -> Converted:
    """`Rescaling`."""
    return Converted((Rescale(fields.numbers("scale", 1), fields.numbers("offset", 0), name=fields.node.name),))


def layer_scale(fields: Fields) -> Converted:
    """ConvNeXt's `LayerScale`."""
    slots = Slots(fields.node.name)
    slots.add("gamma variable", "scale")
    return Converted((ChannelScale(name=fields.node.name),), tuple(slots.found))


def prelu(fields: Fields) -> Converted:
    """`PReLU`."""
    shared = fields.sizes("shared_axes") if fields.value("shared_axes", None) is not None else ()
    slots = Slots(fields.node.name)
    slots.add("alpha", "slope")
    return Converted((ParametricRelu(shared, name=fields.node.name),), tuple(slots.found))
