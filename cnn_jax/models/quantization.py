"""Training with the rounding of int8 in the forward pass, so that the weights learn to bear it.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (CVPR
2018): kernels and activations are rounded to the 256 values that a byte can have; the gradient passes the rounding as
if it was not there, and is 0 where a value was cut off. Kernels are rounded after the factor of batch normalisation
has gone into them, with a scale for each channel, as TensorFlow Lite's converter does it.
"""

from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.models.chain import Variables, sources
from cnn_jax.models.layers import (
    Activation,
    BatchNorm,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAveragePool,
    Layer,
    Merge,
)
from cnn_jax.models.model import Model
from cnn_jax.models.ops.rounding import fake_quantize
from cnn_jax.models.scaling import BoundedRelu, Elu, LayerNorm, ParametricRelu

DECAY = 0.9
"""Share of a range that a step keeps: an epoch of a small data set has a few dozen steps."""
SUFFIX = "_range"
"""What the name of a layer's range adds to the layer's."""
RANGED = (Conv, DepthwiseConv, Dense, BatchNorm, Activation, BoundedRelu, ParametricRelu, Elu, LayerNorm, Merge)
"""Layers whose outputs have a range of their own; those that move, pool or drop values keep that of their input."""
WEIGHTED = (Conv, DepthwiseConv, Dense)


class FakeQuantize(Layer):
    """Rounds to the 256 values between `low` and `high`, running means of what was seen, float32[] each.

    While it is not `active`, it does nothing; nor before it has seen anything.
    """

    active: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], train: bool) -> Float[Array, "*shape"]:
        low, high = (self.variable("batch_stats", name, jnp.zeros, ()) for name in ("low", "high"))
        if not self.active:
            return x
        if train and not self.is_initializing():
            seen = jnp.minimum(x.min(), 0.0), jnp.maximum(x.max(), 0.0)  # 0 has to be among the values: it pads
            kept = jnp.where(high.value > low.value, DECAY, 0.0)
            low.value, high.value = (
                kept * old.value + (1 - kept) * new.astype(jnp.float32)
                for old, new in zip((low, high), seen, strict=True)
            )
        rounded = fake_quantize(x, low.value.astype(x.dtype), high.value.astype(x.dtype))
        return jnp.where(high.value > low.value, rounded, x)


def prepared(model: Model) -> Model:
    """The model with a range after every output that int8 rounds, none of them active yet.

    Not after the classifier, whose logits nothing rounds but the file's own softmax; and not between a convolution,
    its batch normalisation and its rectifier, which are one operation in the file.
    """
    reads = sources(model.layers, model.preceding)
    renamed: dict[str, str] = {}
    layers: list[Layer] = []
    for position, layer in enumerate(model.layers):
        name = str(layer.name)
        if layer.inputs:
            layer = layer.clone(inputs=tuple(renamed.get(source, source) for source in layer.inputs))
        layers.append(layer)
        last = position + 1 == len(model.layers)
        if isinstance(layer, (*RANGED, GlobalAveragePool)) and not last and not _goes_on(model, reads, position):
            renamed[name] = f"{name}{SUFFIX}"
            layers.append(FakeQuantize(name=renamed[name]))
    return replace(model, layers=tuple(layers))


def _goes_on(model: Model, reads: list[tuple[str, ...]], position: int) -> bool:
    """Whether the next layer, a batch normalisation or rectifier, is part of the same operation."""
    layer, following = model.layers[position], model.layers[position + 1]
    alone = sum(str(layer.name) in names for names in reads) == 1 and reads[position + 1] == (str(layer.name),)
    if not alone or not isinstance(layer, (*WEIGHTED, BatchNorm, Merge)):
        return False
    if isinstance(layer, WEIGHTED) and layer.activation is not None:
        return False
    rectifier = isinstance(following, Activation) and following.rectifier is not None
    return rectifier or (isinstance(layer, WEIGHTED) and isinstance(following, BatchNorm))


def active(model: Model) -> Model:
    """The prepared model with everything rounded."""
    return replace(model, layers=tuple(_active(layer) for layer in model.layers))


def _active(layer: Layer) -> Layer:
    if isinstance(layer, FakeQuantize):
        return layer.clone(active=True)
    return layer.clone(rounds_kernel=True) if isinstance(layer, WEIGHTED) else layer


def plain(model: Model) -> Model:
    """The model as it was before `prepared` and `active`."""
    own = {str(layer.name): str(layer.name).removesuffix(SUFFIX) for layer in _ranges(model)}
    layers = []
    for layer in model.layers:
        if isinstance(layer, FakeQuantize):
            continue
        inputs = tuple(own.get(name, name) for name in layer.inputs)
        changed: dict[str, Any] = {"rounds_kernel": False} if isinstance(layer, WEIGHTED) else {}
        layers.append(layer.clone(inputs=inputs, **changed))
    return replace(model, layers=tuple(layers))


def _ranges(model: Model) -> list[FakeQuantize]:
    return [layer for layer in model.layers if isinstance(layer, FakeQuantize)]


def with_ranges(model: Model, variables: Variables) -> Variables:
    """The variables of the plain model, with empty ranges for the prepared one."""
    empty = {str(layer.name): {"low": jnp.zeros(()), "high": jnp.zeros(())} for layer in _ranges(model)}
    return {**variables, "batch_stats": {**variables["batch_stats"], **empty}}


def without_ranges(variables: Variables) -> Variables:
    """The inverse."""
    statistics = {layer: leaves for layer, leaves in variables["batch_stats"].items() if "low" not in leaves}
    return {**variables, "batch_stats": statistics}


def learned(model: Model, variables: Variables) -> dict[str, tuple[float, float]]:
    """Layer to the range of its output; {} where none was learned."""
    found = {}
    for layer in _ranges(model):
        leaves = variables["batch_stats"][str(layer.name)]
        low, high = float(leaves["low"]), float(leaves["high"])
        if high > low:
            found[str(layer.name).removesuffix(SUFFIX)] = (low, high)
    return found
