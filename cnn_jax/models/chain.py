"""The one idea of this package: a convolutional network is an ordered chain of named layers.

A model is a function that returns the layers; `Chain` runs them. Because the order is data, freezing up to a layer,
running a prefix on its own, tapping feature maps and printing a summary are slices of the chain or walks along it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from cnn_jax.errors import ConfigError
from cnn_jax.models.layers import Activation, Add, BatchNorm, Conv, DepthwiseConv, Layer
from cnn_jax.validation import near

Variables = dict[str, Any]
"""{"params": {layer: {leaf: array}}, "batch_stats": {layer: {leaf: array}}}"""


class Chain(nn.Module):
    """Runs `layers` in order; the variables of each are stored under its name.

    A residual connection is a layer of its own: `Add` takes the output of the layer before and that of its source.
    Where only the result counts, a batch normalisation runs together with its neighbours: the rectifier after it, and
    in inference the convolution before it, whose kernel takes its factor. What is tapped is computed one by one.
    """

    layers: tuple[Layer, ...]
    preceding: str | None = None
    """The layer whose output the input is, where the chain is the rest of a longer one; an `Add` may refer to it."""

    preserve_adopted_names = True  # Flax would otherwise call the layers layers_0, layers_1, …

    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        inference_layers: Collection[str] = (),
        taps: Collection[str] = (),
        offsets: Mapping[str, jax.Array] | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Run the chain.

        Args:
            images: float[b, h, w, c], already normalised.
            train: run as in training; needs `mutable=["batch_stats"]` and a `dropout` key.
            inference_layers: names of the layers that run as in inference all the same (the frozen ones).
            taps: names of the layers whose outputs are wanted.
            offsets: arrays that are added to the outputs of tapped layers. Where they are zero, the gradient with
                respect to them is the one with respect to the outputs.

        Returns:
            The output of the last layer, and the tapped outputs by name.
        """
        x, rectified, folded = images, False, False
        sources = {layer.source for layer in self.layers if isinstance(layer, Add)}
        outputs = {self.preceding: x} if self.preceding in sources else {}
        for layer, following in zip(self.layers, (*self.layers[1:], None), strict=True):
            layer_train = train and layer.name not in inference_layers
            wanted = layer.name in taps or layer.name in sources
            if rectified:
                rectified = False
            elif isinstance(layer, BatchNorm):
                activation = following.kind if isinstance(following, Activation) and not wanted else None
                x = layer(x, layer_train, activation, folded)
                rectified, folded = activation is not None, False
            elif isinstance(layer, Add):
                x = layer(x, layer_train, other=outputs[layer.source])
            elif isinstance(layer, Conv | DepthwiseConv):
                factor = None
                if isinstance(following, BatchNorm) and layer.is_linear and not wanted:
                    constant = not train or following.name in inference_layers
                    factor = following.factor(layer.channels(x)) if constant else None
                x, folded = layer(x, layer_train, factor), factor is not None
            else:
                x = layer(x, layer_train)
            if offsets and layer.name in offsets:
                x += offsets[layer.name]
            if wanted:
                outputs[layer.name] = x
        return x, {str(layer.name): outputs[layer.name] for layer in self.layers if layer.name in taps}


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """The names in order."""
    return [str(layer.name) for layer in layers]


def depthwise_layers(layers: Sequence[Layer]) -> list[str]:
    """The names of the depthwise convolutions."""
    return [str(layer.name) for layer in layers if isinstance(layer, DepthwiseConv)]


def cut_before(layers: Sequence[Layer], index: int) -> int:
    """The last position up to `index` where the chain can be cut in two.

    What follows a cut must do with the output of the layer before it, so no residual connection may span the cut.
    """
    positions = {name: i for i, name in enumerate(layer_names(layers))}
    spans = [(positions.get(layer.source, -1), i) for i, layer in enumerate(layers) if isinstance(layer, Add)]
    for source, end in reversed(spans):  # the later ones first: a cut that moves back may fall into an earlier one
        if source + 1 < index <= end:
            index = source + 1
    return index


def layer_index(layers: Sequence[Layer], name: str, field: str) -> int:
    """The position of the layer called `name`; `field` is the setting that an error names.

    Raises:
        ConfigError: no layer has that name; the message lists the near ones.
    """
    names = layer_names(layers)
    if name in names:
        return names.index(name)
    raise ConfigError(f"{field}: there is no layer {name!r}; near names: {near(name, names)}")
