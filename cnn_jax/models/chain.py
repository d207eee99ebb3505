"""The one idea of this package: a convolutional network is an ordered chain of named layers.

A model is a function that returns the layers; `Chain` runs them. Because the order is data, freezing up to a layer,
running a prefix on its own, tapping feature maps and printing a summary are slices of the chain or walks along it.

A layer takes the output of the one before it, unless it names its `inputs`: so branches and sums have an order too.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from cnn_jax.config.validation import near
from cnn_jax.errors import ConfigError
from cnn_jax.models.layers import IMAGES, Activation, BatchNorm, Conv, DepthwiseConv, Layer

Variables = dict[str, Any]
"""{"params": {layer: {leaf: array}}, "batch_stats": {layer: {leaf: array}}}"""


class Chain(nn.Module):
    """Runs `layers` in order; the variables of each are stored under its name.

    An output is held until its last reader has run. Where only the result counts, a batch normalisation runs together
    with its neighbours: the rectifier after it, and in inference the convolution before it, whose kernel takes its
    factor where it is no larger than its output. What is tapped, or read by others too, is computed one by one.
    """

    layers: tuple[Layer, ...]
    preceding: str | None = None
    """The layer whose output the input is, where the chain is the rest of a longer one; `inputs` may name it."""

    preserve_adopted_names = True  # Flax would otherwise call the layers layers_0, layers_1, …

    def __call__(
        self,
        images: Float[Array, "b ..."],
        train: bool = False,
        inference_layers: Collection[str] = (),
        taps: Collection[str] = (),
        offsets: Mapping[str, Float[Array, "b ..."]] | None = None,
    ) -> tuple[Float[Array, "b ..."], dict[str, Float[Array, "b ..."]]]:
        """Run the chain.

        Args:
            images: already normalised; for a part of a network, what the layers before it put out.
            train: run as in training; needs `mutable=["batch_stats"]` and a `dropout` key.
            inference_layers: names of the layers that run as in inference all the same (the frozen ones).
            taps: names of the layers whose outputs are wanted.
            offsets: arrays that are added to the outputs of tapped layers. Where they are zero, the gradient with
                respect to them is the one with respect to the outputs.

        Returns:
            The output of the last layer, and the tapped outputs by name.
        """
        reads = sources(self.layers, self.preceding)
        readers = Counter(name for names in reads for name in names)
        last_reader = {name: position for position, names in enumerate(reads) for name in names}
        x, rectified, folded = images, False, False
        outputs, tapped = {self.preceding or IMAGES: images}, {}
        for position, layer in enumerate(self.layers):
            name, layer_train = str(layer.name), train and layer.name not in inference_layers
            x, *others = (outputs[source] for source in reads[position])
            following = None  # the next layer, where nothing else needs this output
            if readers[name] == 1 and reads[position + 1 : position + 2] == [(name,)] and name not in taps:
                following = self.layers[position + 1]
            if rectified:
                rectified = False
            elif isinstance(layer, BatchNorm):
                activation = following.rectifier if isinstance(following, Activation) else None
                x = layer(x, layer_train, activation, folded)
                rectified, folded = activation is not None, False
            elif isinstance(layer, Conv | DepthwiseConv):
                factor = None
                if isinstance(following, BatchNorm) and layer.takes_factor(x.shape):
                    constant = not train or following.name in inference_layers
                    factor = following.factor(layer.channels(x)) if constant else None
                x, folded = layer(x, layer_train, factor), factor is not None
            else:
                x = layer(x, layer_train, *others)
            if offsets and name in offsets:
                x += offsets[name]
            if name in taps:
                tapped[name] = x
            for source in set(reads[position]):
                if last_reader[source] == position:
                    del outputs[source]
            outputs[name] = x
        return x, tapped


def sources(layers: Sequence[Layer], preceding: str | None = None) -> list[tuple[str, ...]]:
    """Whose outputs each layer takes: the names of layers, or of the input, `preceding` or `IMAGES`.

    Raises:
        ValueError: a name that no earlier layer has.
    """
    before, known, found = preceding or IMAGES, {preceding or IMAGES}, []
    for layer in layers:
        names = layer.inputs or (before,)
        if not known.issuperset(names):
            raise ValueError(f"{layer.name} takes {', '.join(names)}; the layers before it: {', '.join(sorted(known))}")
        found.append(names)
        before = str(layer.name)
        known.add(before)
    return found


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """The names in order."""
    return [str(layer.name) for layer in layers]


def depthwise_layers(layers: Sequence[Layer]) -> list[str]:
    """The names of the depthwise convolutions."""
    return [str(layer.name) for layer in layers if isinstance(layer, DepthwiseConv)]


def cut_before(layers: Sequence[Layer], index: int, preceding: str | None = None) -> int:
    """The last position up to `index` where the chain can be cut in two.

    What follows a cut must do with the output of the layer before it, so no other output may be read across it.
    """
    positions = {name: position for position, name in enumerate(layer_names(layers))}
    first_read = list(range(len(layers) + 1))  # by the layers from a position on: where the earliest output ends
    for position, names in reversed(list(enumerate(sources(layers, preceding)))):
        earliest = min(positions.get(name, -1) + 1 for name in names)
        first_read[position] = min(earliest, first_read[position + 1])
    while index and first_read[index] < index:
        index -= 1
    return index


def layer_index(layers: Sequence[Layer], name: str, field: str, others: str = "") -> int:
    """The position of the layer called `name`; `field` is the setting that an error names.

    Raises:
        ConfigError: no layer has that name; the message lists the near ones, and the `others` that the setting takes.
    """
    names = layer_names(layers)
    if name in names:
        return names.index(name)
    raise ConfigError(f"{field}: there is no layer {name!r}; near names: {near(name, names)}{others}")
