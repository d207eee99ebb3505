"""The one idea of this package: a convolutional network is an ordered chain of named layers.

A model is a function that returns the layers; `Chain` runs them. Because the order is data, freezing up to a layer,
running a prefix on its own, tapping feature maps and printing a summary are slices of the chain or walks along it.
"""

import difflib
from collections.abc import Collection, Sequence
from typing import Any

import flax.linen as nn
import jax

from cnn_jax.errors import ConfigError
from cnn_jax.models.layers import Activation, BatchNorm, DepthwiseConv, Layer

Variables = dict[str, Any]
"""{"params": {layer: {leaf: array}}, "batch_stats": {layer: {leaf: array}}}"""


class Chain(nn.Module):
    """Runs `layers` in order; the variables of each are stored under its name."""

    layers: tuple[Layer, ...]

    preserve_adopted_names = True  # Flax would otherwise call the layers layers_0, layers_1, …

    def __call__(
        self,
        images: jax.Array,
        train: bool = False,
        inference_layers: Collection[str] = (),
        taps: Collection[str] = (),
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Run the chain.

        Args:
            images: float[b, h, w, c], already normalised.
            train: run as in training; needs `mutable=["batch_stats"]` and a `dropout` key.
            inference_layers: names of the layers that run as in inference all the same (the frozen ones).
            taps: names of the layers whose outputs are wanted.

        Returns:
            The output of the last layer, and the tapped outputs by name.
        """
        x, tapped = images, {}
        rectified = False
        for layer, following in zip(self.layers, (*self.layers[1:], None), strict=True):
            layer_train = train and layer.name not in inference_layers
            if isinstance(layer, BatchNorm) and isinstance(following, Activation) and layer.name not in taps:
                x = layer(x, layer_train, activation=following.kind)
                rectified = True
            elif rectified:
                rectified = False
            else:
                x = layer(x, layer_train)
            if layer.name in taps:
                tapped[layer.name] = x
        return x, tapped


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """The names in order."""
    return [str(layer.name) for layer in layers]


def depthwise_layers(layers: Sequence[Layer]) -> list[str]:
    """The names of the depthwise convolutions."""
    return [str(layer.name) for layer in layers if isinstance(layer, DepthwiseConv)]


def layer_index(layers: Sequence[Layer], name: str, field: str) -> int:
    """The position of the layer called `name`; `field` is the setting that an error names.

    Raises:
        ConfigError: no layer has that name; the message lists the near ones.
    """
    names = layer_names(layers)
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names
    raise ConfigError(f"{field}: there is no layer {name!r}; near names: {', '.join(near)}")
