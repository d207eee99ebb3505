"""The Keras layers that do what the layers of this package do, and their arrays as Keras keeps them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from cnn_jax.models.chain import Variables
from cnn_jax.models.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GlobalPool,
    Layer,
    Merge,
    Pool,
    ZeroPad,
)
from cnn_jax.models.merging import Concatenate, ScaledAdd
from cnn_jax.models.noise import ExampleDropout, GaussianNoise, Noise, SpatialDropout
from cnn_jax.models.ops.shifts import explicit_pads
from cnn_jax.models.scaling import BoundedRelu, ChannelScale, Elu, LayerNorm, Normalise, ParametricRelu, Rescale
from cnn_jax.models.shaping import Crop, Permute, Reshape, Upsample

Config = dict[str, Any]

_KERNEL = (("params", "kernel", "kernel"), ("params", "bias", "bias"))
_NORM = (("params", "scale", "gamma"), ("params", "bias", "beta"))
_WEIGHTS: dict[type[Layer], tuple[tuple[str, str, str], ...]] = {
    Conv: _KERNEL,
    Dense: _KERNEL,
    DepthwiseConv: (("params", "kernel", "depthwise_kernel"), ("params", "bias", "bias")),
    BatchNorm: (*_NORM, ("batch_stats", "mean", "moving_mean"), ("batch_stats", "var", "moving_variance")),
    LayerNorm: _NORM,
    ParametricRelu: (("params", "slope", "alpha"),),
    ChannelScale: (("params", "scale", "depthwise_kernel"),),
}
"""Kind of layer to (collection, leaf, Keras' name) in the order in which Keras keeps them."""


def keras_name(layer: Layer) -> str:
    """Its name in Keras, which allows no slash."""
    return str(layer.name).replace("/", "_")


def stored(layer: Layer, variables: Variables) -> dict[str, Float32[np.ndarray, "..."]]:
    """Its arrays by Keras' names and in Keras' order and shape; {} for a layer without any."""
    arrays = {}
    for collection, leaf, name in _WEIGHTS.get(type(layer), ()):
        leaves = variables[collection].get(layer.name, {})
        if leaf not in leaves:
            continue
        array = np.asarray(leaves[leaf], np.float32)
        if isinstance(layer, DepthwiseConv) and leaf == "kernel":
            array = array.reshape(*array.shape[:2], -1, layer.multiplier)  # here [kh, kw, 1, c * m]
        arrays[name] = array.reshape(1, 1, -1, 1) if isinstance(layer, ChannelScale) else array
    return arrays


def described(kind: str, name: str, inputs: Sequence[str], **config: Any) -> Config:
    """Keras' description of a layer."""
    nodes = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def counterparts(layer: Layer, inputs: Sequence[str], shape: tuple[int, ...], variables: Variables) -> list[Config]:
    """What does in Keras what `layer` does to images of so many rows and columns; the last one has its name.

    Raises:
        TypeError: Keras has no such layer.
    """
    name = keras_name(layer)
    if isinstance(layer, ScaledAdd):
        scaled = described("Rescaling", f"{name}_scaled", inputs[1:], scale=layer.scale)
        return [scaled, described("Add", name, [inputs[0], scaled["name"]])]
    kind, config = _counterpart(layer, shape, variables)
    return [described(kind, name, inputs, **config)]


def _counterpart(layer: Layer, shape: tuple[int, ...], variables: Variables) -> tuple[str, Config]:
    """Keras' class, and its fields."""
    match layer:
        case Conv() | DepthwiseConv():
            return _convolution(layer)
        case Dense():
            return "Dense", {"units": layer.features, "use_bias": layer.use_bias, **_activation(layer)}
        case BatchNorm():
            kept = {"scale": layer.use_scale, "center": layer.use_bias}
            return "BatchNormalization", {"epsilon": layer.epsilon, "momentum": layer.momentum, **kept}
        case LayerNorm():
            kept = {"scale": layer.use_scale, "center": layer.use_bias}
            return "LayerNormalization", {"epsilon": layer.epsilon, **kept}
        case ChannelScale():
            return "DepthwiseConv2D", {"kernel_size": [1, 1], "use_bias": False}
        case Rescale():
            return "Rescaling", {"scale": _number(layer.scale), "offset": _number(layer.offset)}
        case Normalise():
            return "Normalization", _normalisation(layer, variables)
        case Activation() | BoundedRelu() | ParametricRelu() | Elu():
            return _bend(layer)
        case Merge():
            return type(layer).__name__, {"axis": layer.axis} if isinstance(layer, Concatenate) else {}
    return _plain(layer, shape)


def _plain(layer: Layer, shape: tuple[int, ...]) -> tuple[str, Config]:
    """Of layers that move values, pool or drop them."""
    match layer:
        case Pool():
            kind = "AveragePooling2D" if isinstance(layer, AveragePool) else "MaxPooling2D"
            window = {"pool_size": list(layer.pool_size), "strides": list(layer.strides)}
            return kind, {**window, "padding": layer.padding.lower()}
        case GlobalPool():
            kind = "GlobalAveragePooling2D" if isinstance(layer, GlobalAveragePool) else "GlobalMaxPooling2D"
            return kind, {"keepdims": layer.keep_size}
        case ZeroPad():
            pads = explicit_pads(shape, (3, 3), (2, 2), layer.pads)
            return "ZeroPadding2D", {"padding": [list(pad) for pad in pads]}
        case Crop():
            return "Cropping2D", {"cropping": [list(side) for side in layer.sides]}
        case Upsample():
            how = "bilinear" if layer.bilinear else "nearest"
            return "UpSampling2D", {"size": list(layer.size), "interpolation": how}
        case Reshape():
            return "Reshape", {"target_shape": list(layer.shape)}
        case Permute():
            return "Permute", {"dims": list(layer.axes)}
        case Flatten():
            return "Flatten", {}
        case Dropout():
            return "Dropout", {"rate": layer.rate}
        case ExampleDropout():
            return "Dropout", {"rate": layer.rate, "noise_shape": [None, 1, 1, 1]}
        case SpatialDropout():
            return "SpatialDropout2D", {"rate": layer.rate}
        case Noise():
            return type(layer).__name__, {"stddev" if isinstance(layer, GaussianNoise) else "rate": layer.rate}
    raise TypeError(f"there is no Keras layer for {layer.name}, a {type(layer).__name__}")


def _convolution(layer: Conv | DepthwiseConv) -> tuple[str, Config]:
    if not isinstance(layer.padding, str):
        raise TypeError(f"Keras' convolutions have no explicit padding such as that of {layer.name}: {layer.padding}")
    window = {
        "kernel_size": list(layer.kernel_size),
        "strides": list(layer.strides),
        "padding": layer.padding.lower(),
        "dilation_rate": list(layer.dilation),
        "use_bias": layer.use_bias,
        **_activation(layer),
    }
    if isinstance(layer, DepthwiseConv):
        return "DepthwiseConv2D", {**window, "depth_multiplier": layer.multiplier}
    return "Conv2D", {**window, "filters": layer.features, "groups": layer.groups}


def _activation(layer: Conv | DepthwiseConv | Dense | Activation) -> Config:
    kind = layer.kind if isinstance(layer, Activation) else layer.activation
    if kind == "gelu_tanh":
        raise TypeError(f"Keras has no name for the activation of {layer.name}, {kind}")
    return {"activation": kind or "linear"}


def _bend(layer: Activation | BoundedRelu | ParametricRelu | Elu) -> tuple[str, Config]:
    match layer:
        case Activation(kind="relu" | "relu6"):
            return "ReLU", {"max_value": 6.0 if layer.kind == "relu6" else None}
        case Activation():
            return "Activation", _activation(layer)
        case BoundedRelu():
            bounds = {"max_value": layer.highest, "threshold": layer.threshold}
            return "ReLU", {**bounds, "negative_slope": layer.slope}
        case ParametricRelu():
            return "PReLU", {"shared_axes": list(layer.shared) or None}
    return "ELU", {"alpha": layer.factor}


def _normalisation(layer: Normalise, variables: Variables) -> Config:
    mean, var = layer.mean, layer.var
    if mean is None or var is None:
        statistics = variables["batch_stats"][str(layer.name)]
        mean, var = (np.atleast_1d(np.asarray(statistics[leaf])).tolist() for leaf in ("mean", "var"))
    axis = -1 if layer.by_channel else None
    return {"axis": axis, "mean": _number(mean), "variance": _number(var)}


def _number(values: Sequence[float]) -> float | list[float]:
    """One number as itself."""
    return float(values[0]) if len(values) == 1 else [float(value) for value in values]
