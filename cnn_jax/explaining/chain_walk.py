"""A walk along the chain with one image: what convolution, normalisation, rectifier and pooling each make of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from cnn_jax.models.chain import layer_names
from cnn_jax.models.layers import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Layer,
    MaxPool,
    Merge,
    Pool,
    ZeroPad,
)
from cnn_jax.models.model import Model
from cnn_jax.models.ops.activations import RECTIFIERS
from cnn_jax.models.summary import LayerSummary, spatial_layers, summarise

BENDS = {"relu": "what was negative is now 0", "relu6": "what was negative is now 0, and nothing exceeds 6"}
"""What the rectifiers do, in words."""


@dataclass(frozen=True)
class LayerOutput:
    """The numbers that a layer puts out for an image."""

    summary: LayerSummary
    low: float
    high: float
    zeros: float
    """The share of values that are exactly 0."""

    @property
    def size(self) -> str:
        """Such as 56 x 56 x 128."""
        return " x ".join(map(str, self.summary.output_shape))

    @property
    def sees(self) -> str:
        """The receptive field in words."""
        return in_words(self.summary.receptive_field)


def in_words(receptive_field: int | None) -> str:
    """A receptive field, in pixels of the image."""
    return "the whole image" if receptive_field is None else f"{receptive_field} x {receptive_field} pixels"


def separate_rectifiers(model: Model) -> Model:
    """The same network with each rectifier of a convolution as a layer of its own, called `<convolution>_relu`.

    It runs with the same variables, so that what goes into the rectifier can be looked at.
    """
    renamed = {
        str(layer.name): f"{layer.name}_relu"
        for layer in model.layers
        if isinstance(layer, Conv | DepthwiseConv) and layer.activation in RECTIFIERS
    }
    layers: list[Layer] = []
    for original in model.layers:
        layer = original.clone(inputs=tuple(renamed.get(name, name) for name in original.inputs))
        if layer.name in renamed:
            rectifier = Activation(layer.activation, name=renamed[layer.name])
            layers += [layer.clone(activation=None), rectifier]
        else:
            layers.append(layer)
    return replace(model, layers=tuple(layers))


def selection(model: Model) -> list[str]:
    """The last layer of each resolution along the chain, without pooling and padding: where a course would look."""
    last = {}
    by_name = dict(zip(layer_names(model.layers), model.layers, strict=True))
    for name in spatial_layers(model):
        if not isinstance(by_name[name], Pool | ZeroPad | Dropout):
            last[model.output_shapes[name].shape[1:3]] = name
    return list(last.values())


def stage(model: Model, name: str) -> list[str]:
    """The layers around the one called `name`: from the convolution at or before it to before the next one.

    A padding belongs to the convolution that follows. Layers with another number of channels are left out.
    """
    spatial = spatial_layers(model)
    layers = [layer for layer in model.layers if layer.name in spatial]
    names = layer_names(layers)
    place = names.index(name)
    begins = [i for i, layer in enumerate(layers) if isinstance(layer, Conv | DepthwiseConv)]
    start = max((i for i in begins if i <= place), default=0)
    end = min((i for i in begins if i > place), default=len(names))
    while end - 1 > place and isinstance(layers[end - 1], ZeroPad):
        end -= 1
    channels = {step: model.output_shapes[step].shape[-1] for step in names[start:end]}
    return [step for step in channels if channels[step] == channels[name]]


def layer_outputs(model: Model, outputs: Mapping[str, Float[np.ndarray, "1 ..."]]) -> list[LayerOutput]:
    """The walk along the chain; `outputs` is of every layer, for one image."""
    summaries = summarise(model, lambda params: params, batch_size=1).layers
    return [_measured(summary, outputs[summary.name]) for summary in summaries]


def _measured(summary: LayerSummary, output: Float[np.ndarray, "1 ..."]) -> LayerOutput:
    return LayerOutput(summary, float(output.min()), float(output.max()), float((output == 0).mean()))


def sentence(layer: Layer) -> str:
    """What a layer does, in one sentence."""
    match layer:
        case Conv():
            return "Convolution: each value says how well the filter fits there; red fits, blue is the opposite."
        case DepthwiseConv():
            return "Depthwise convolution: one filter slides over this channel alone."
        case BatchNorm():
            return "Batch normalisation: the channel is shifted and scaled into a usual range."
        case Activation(kind=kind) if kind in BENDS:
            return f"Rectifier: {BENDS[kind]}."
        case Activation():
            return f"Activation: {layer.kind} of each value."
        case MaxPool():
            height, width = layer.pool_size
            return f"Max pooling: the largest value of each {height} x {width} window is kept."
        case Add():
            return f"Residual connection: the sum of {' and '.join(layer.inputs)}."
        case Merge():
            return f"{type(layer).__name__} of {' and '.join(layer.inputs)}."
        case ZeroPad():
            return "Padding: rows and columns of zeros around the maps."
    return "What this layer makes of the one before."
