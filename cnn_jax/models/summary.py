"""A walk along the chain: what each layer puts out, holds, costs and sees. Shapes alone; nothing is computed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from cnn_jax.config.image_size import ImageSize
from cnn_jax.models.chain import layer_names, sources
from cnn_jax.models.layers import IMAGES, Conv, DepthwiseConv, GlobalPool, Layer, Pool
from cnn_jax.models.model import Model

Params = Mapping[str, Mapping[str, Any]]
"""{layer: {leaf: array or shape}}"""


@dataclass(frozen=True)
class LayerSummary:
    """One layer, for one image."""

    name: str
    kind: str
    """The layer's class: Conv, BatchNorm, …"""
    output_shape: tuple[int, ...]
    """Without the batch."""
    trainable: int
    """Parameters that train."""
    frozen: int
    """Parameters that stay as they are."""
    batch_statistics: int
    """Numbers that a batch norm keeps: moving means and variances."""
    macs: int
    """Multiply-accumulates of the convolution or matrix product; all else is left out."""
    receptive_field: int | None
    """Rows of the image that one row of the output sees, as far as they lie inside; None: the whole image."""
    stride: int | None
    """Rows of the image between neighbouring rows of the output; None: there is one row."""

    @property
    def parameters(self) -> int:
        """All numbers that a weights file holds, batch statistics included, as Keras counts."""
        return self.trainable + self.frozen + self.batch_statistics

    @property
    def state(self) -> str:
        """`trainable`, `frozen`, `partly frozen`, or empty without parameters."""
        if self.trainable and self.frozen:
            return "partly frozen"
        return "trainable" if self.trainable else "frozen" if self.frozen else ""


@dataclass(frozen=True)
class Summary:
    """The layers in order, and what a batch takes."""

    layers: tuple[LayerSummary, ...]
    image_size: ImageSize
    batch_size: int
    activation_bytes: int
    """The outputs of all layers for a batch. XLA fuses layers and frees what is not needed: an upper bound."""
    kept_bytes: int
    """Of these, the ones that the backward pass may need: from the input of the first trainable layer on."""

    def total(self, field: str) -> int:
        """The sum of a field over the layers."""
        return sum(getattr(layer, field) for layer in self.layers)

    @property
    def first_trainable(self) -> str | None:
        """The first layer with parameters that train."""
        return next((layer.name for layer in self.layers if layer.trainable), None)


def summarise(model: Model, trainable_part: Callable[[Params], Params], batch_size: int) -> Summary:
    """Walk along the chain of `model`.

    Args:
        trainable_part: the part of a parameter tree that trains.
        batch_size: images in a training step, for the memory.
    """
    variables, trainable = model.shapes, trainable_part(model.shapes["params"])
    outputs = [model.output_shapes[name] for name in layer_names(model.layers)]
    layers = []
    views = _views(model)
    for layer, output in zip(model.layers, outputs, strict=True):
        params = variables["params"].get(layer.name, {})
        view = views[str(layer.name)]
        learned = _size(trainable.get(layer.name, {}))
        layers.append(
            LayerSummary(
                name=str(layer.name),
                kind=type(layer).__name__,
                output_shape=output.shape[1:],
                trainable=learned,
                frozen=_size(params) - learned,
                batch_statistics=_size(variables["batch_stats"].get(layer.name, {})),
                macs=_macs(params, output.shape),
                receptive_field=view.field,
                stride=view.stride,
            )
        )
    sizes = [batch_size * math.prod(output.shape) * output.dtype.itemsize for output in outputs]
    first = next((i for i, layer in enumerate(layers) if layer.trainable), len(layers))
    kept = sum(sizes[max(first - 1, 0) :]) if first < len(sizes) else 0
    return Summary(tuple(layers), model.image_size, batch_size, sum(sizes), kept)


def describe(summary: Summary, freeze_until: str) -> list[str]:
    """Lines for the console: a row a layer, a line where the frozen part ends, and the totals."""
    rows = [("layer", "output", "parameters", "", "MACs", "sees", "stride"), *map(_cells, summary.layers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_justify(row, widths)).rstrip() for row in rows]
    names = [layer.name for layer in summary.layers]
    if summary.first_trainable not in (None, names[0]):
        mark = f"-- frozen above, trains from {summary.first_trainable} on "
        lines.insert(1 + names.index(summary.first_trainable), mark.ljust(max(map(len, lines)), "-"))
    trainable, frozen, statistics = map(summary.total, ("trainable", "frozen", "batch_statistics"))
    return [
        *lines,
        "",
        f"parameters                {summary.total('parameters'):,}",
        f"  trainable               {trainable:,} (freeze_until={freeze_until})",
        f"  frozen                  {frozen:,}",
        f"  batch statistics        {statistics:,}",
        f"MACs an image             {summary.total('macs'):,}",
        f"activations of {summary.batch_size:<10} {summary.activation_bytes / 1e6:,.1f} MB at most",
        f"  for the backward pass   {summary.kept_bytes / 1e6:,.1f} MB at most",
    ]


def _cells(layer: LayerSummary) -> tuple[str, ...]:
    return (
        layer.name,
        "x".join(map(str, layer.output_shape)),
        f"{layer.parameters:,}" if layer.parameters else "",
        layer.state,
        f"{layer.macs:,}" if layer.macs else "",
        "all" if layer.receptive_field is None else str(layer.receptive_field),
        "" if layer.stride is None else str(layer.stride),
    )


def _justify(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Numbers to the right, words to the left."""
    left = {0, 1, 3}
    return [
        cell.ljust(width) if column in left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]


@dataclass(frozen=True)
class _View:
    """What a row of an output is made of."""

    field: int | None
    """Rows of the image that it sees; None: all of them."""
    stride: int | None
    """Rows of the image to the next one; None: there is none."""


def _views(model: Model) -> dict[str, _View]:
    """By layer, and by the name of the input: the farthest that one of what it takes sees."""
    reads = sources(model.layers, model.preceding)
    views = {model.preceding or IMAGES: _View(1, 1)}
    for layer, names in zip(model.layers, reads, strict=True):
        kernel, step = _window(layer)
        taken = [views[name] for name in names]
        stride = max((view.stride for view in taken if view.stride is not None), default=None)
        if stride is None or _sees_everything(layer, model.output_shapes[str(layer.name)].shape):
            views[str(layer.name)] = _View(None, None)
            continue
        fields = [view.field + (kernel - 1) * stride for view in taken if view.field is not None]
        views[str(layer.name)] = _View(max(fields) if len(fields) == len(taken) else None, stride * step)
    return views


def spatial_layers(model: Model) -> list[str]:
    """The layers whose outputs have rows and columns that lie on the image: no global pooling is before them."""
    views = _views(model)
    return [name for name in layer_names(model.layers) if views[name].stride is not None]


def _window(layer: Layer) -> tuple[int, int]:
    """Rows of the input that a row of the output is made of, and the step between them."""
    if isinstance(layer, Conv | DepthwiseConv):
        return (layer.kernel_size[0] - 1) * layer.dilation[0] + 1, layer.strides[0]
    return (layer.pool_size[0], layer.strides[0]) if isinstance(layer, Pool) else (1, 1)


def _sees_everything(layer: Layer, shape: tuple[int, ...]) -> bool:
    """Whether each value of the layer's output depends on all rows and columns of its input."""
    return len(shape) < 4 or isinstance(layer, GlobalPool)


def _macs(params: Mapping[str, Any], shape: tuple[int, ...]) -> int:
    """Each weight of a kernel meets each position of the output once; biases and normalisation do not multiply."""
    kernel = params.get("kernel")
    return 0 if kernel is None else kernel.size * math.prod(shape[1:-1])


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
