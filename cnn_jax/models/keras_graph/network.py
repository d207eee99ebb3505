"""The network of a description: its layers in order, where their arrays lie, and the classifier at its end."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float

from cnn_jax.config import ModelConfig
from cnn_jax.config.image_size import ImageSize, in_pixels, of_sides, sides
from cnn_jax.errors import ConfigError, WeightsError
from cnn_jax.models.chain import Chain, layer_names
from cnn_jax.models.head import HEAD, head_layers, vector, with_parameters
from cnn_jax.models.keras_graph.convert import convert
from cnn_jax.models.keras_graph.converted import Converted, Slot
from cnn_jax.models.keras_graph.fields import Fields
from cnn_jax.models.keras_graph.parse import IMAGES as INPUT
from cnn_jax.models.keras_graph.parse import Node, parse
from cnn_jax.models.layers import IMAGES, Activation, Conv, Dense, Dropout, Flatten, Layer
from cnn_jax.models.scaling import Normalise, Rescale
from cnn_jax.models.shaping import Reshape

MOST_VALUES = 2**27
"""That a layer may make of one image: half a gigabyte. The largest of Keras Applications makes 2**24."""

Result = Literal["probabilities", "logits", "features"]
"""What the file's network gives: with a softmax or sigmoid, a vector without, or maps."""


@dataclass(frozen=True)
class Place:
    """Where the arrays of a Keras layer lie in the file, and where they go."""

    path: tuple[str, ...]
    """Its own name, after those of the models that it lies in."""
    group: str
    """As in the files of Keras 3."""
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Network:
    """A network as a file has it, without the softmax at its end."""

    layers: tuple[Layer, ...]
    places: tuple[Place, ...]
    image_size: ImageSize
    channels: int
    result: Result
    notes: tuple[str, ...]
    """What was left out or changed, a sentence each."""
    new_layers: tuple[str, ...] = ()
    """Those of a new head that have parameters."""

    @property
    def scaling(self) -> str | None:
        """What the network does to its images before its first weights, in words; None where it takes them scaled."""
        found = []
        for layer in self.layers:
            if isinstance(layer, Normalise):
                found.append("Normalization" if layer.mean is None else f"Normalization(mean={_listed(layer.mean)})")
            elif isinstance(layer, Rescale):
                found.append(f"Rescaling(scale={_listed(layer.scale)}, offset={_listed(layer.offset)})")
            elif any(slot.layer == layer.name for place in self.places for slot in place.slots):
                break
        return ", then ".join(found) or None

    @functools.cached_property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each layer for one image, the batch counted.

        Raises:
            WeightsError: the layers do not fit one another.
        """
        image = jax.ShapeDtypeStruct((1, *sides(self.image_size), self.channels), np.float32)
        run = functools.partial(Chain(self.layers).init_with_output, taps=layer_names(self.layers))
        try:
            (_, outputs), _ = jax.eval_shape(run, jax.random.key(0), image)
        except Exception as error:  # JAX and Flax raise many kinds, by what does not fit
            reason = str(error).splitlines()[0][:300]
            raise WeightsError(
                f"its layers do not fit one another, or images of {in_pixels(self.image_size)}: {reason}"
            ) from error
        for name, output in outputs.items():
            if not 0 < output.size <= MOST_VALUES:
                raise WeightsError(
                    f"the layer {name} makes {output.size:,} values of an image of {in_pixels(self.image_size)}"
                )
        return {name: output.shape for name, output in outputs.items()}

    @property
    def classes(self) -> int | None:
        """How many it tells apart; None for a network that gives features."""
        return None if self.result == "features" else self.output_shapes[str(self.layers[-1].name)][1]

    @property
    def classifier(self) -> str | None:
        """The layer that makes the logits; None without one that another can stand in for."""
        index = None if self.result == "features" else _classifier(self.layers, self.output_shapes)
        return None if index is None else str(self.layers[index].name)

    def headed(self, config: ModelConfig, classes: int) -> "Network":
        """The same for training: with a new head, as `config` has it, in the place of its classifier.

        A network without a classifier gets one: of maps, their mean over rows and columns goes into it, or all values.

        Raises:
            ConfigError: it tells classes apart with something else than a dense layer.
        """
        if self.result == "features":
            maps = len(self.output_shapes[str(self.layers[-1].name)]) == 4
            return self._ended((*self.layers, *(vector(config) if maps else ())), (), config, classes)
        index = _classifier(self.layers, self.output_shapes)
        if index is None:
            raise ConfigError(
                "model.name=keras: the last layer with weights of this network is neither dense nor a 1 x 1 "
                "convolution after a global pooling, so no classifier can be put in its place. Train a file without it"
            )
        if config.top != "pool":
            raise ConfigError(
                f"model.top={config.top} is for files without a classifier: this network has layers that lead to it"
            )
        old, before = self.layers[index], self.layers[:index]
        assert isinstance(old, Dense | Conv)
        inputs = old.inputs
        while config.adds_dropout and not inputs and before and isinstance(before[-1], Dropout):
            inputs, before = before[-1].inputs, before[:-1]
        if isinstance(old, Conv):
            before, inputs = (*before, Flatten(inputs=inputs, name=f"{HEAD}_input")), ()
        places = tuple(_renamed(place, str(old.name), HEAD, isinstance(old, Conv)) for place in self.places)
        return replace(self._ended(before, inputs, config, classes), places=places)

    def _ended(
        self, before: tuple[Layer, ...], inputs: tuple[str, ...], config: ModelConfig, classes: int
    ) -> "Network":
        """These layers and a new head, of which the first takes `inputs`."""
        names = layer_names(before)
        first, *rest = head_layers(config, classes, names)
        if HEAD in names:
            raise ConfigError(
                f"model.name=keras: a layer of the file before the classifier is called {HEAD}: rename it"
            )
        head = (first.clone(inputs=inputs), *rest)
        return replace(self, layers=(*before, *head), new_layers=with_parameters(head), result="logits")


@functools.lru_cache(maxsize=4)  # who asks for the model asks for its arrays as well
def read(description: str | bytes, image_size: ImageSize | None = None) -> Network:
    """The network that Keras' JSON describes.

    Args:
        image_size: rows and columns of the images, where the description leaves them open.

    Raises:
        WeightsError: it cannot be read, or is no image classifier; the message names the layer.
    """
    described = parse(description)
    height, width, channels = described.image_shape
    if known := [side for side in (height, width) if side]:
        image_size = of_sides(known[0], known[-1])
    if image_size is None:
        raise ConfigError("model.image_size: the file leaves the size of its images open: say how large they are")
    converted = [(node, convert(Fields(node, described.keras_version))) for node in described.nodes]
    layers = _chained(converted)
    if not layers:
        raise WeightsError("it has no layers")
    places = tuple(Place(node.path, node.group, found.slots) for node, found in converted if found.slots)
    notes = tuple(found.note for _, found in converted if found.note)
    network = Network(layers, places, image_size, channels, "features", notes)
    for node, found in converted:
        last = len(network.output_shapes[str(found.layers[-1].name)]) - 1 if found.layers else None
        if found.axis not in (None, last):
            raise WeightsError(
                f"the layer {node.name} ({node.kind}): axis={found.axis}, and only the last axis, {last}, can be read"
            )
    return _as_classifier(network)


def _chained(converted: Sequence[tuple[Node, Converted]]) -> tuple[Layer, ...]:
    """All layers in order; one that takes the output of the layer before it does not name it."""
    layers: list[Layer] = []
    stands_for = {INPUT: IMAGES}
    before = IMAGES
    for node, found in converted:
        inputs = tuple(stands_for[name] for name in node.inputs)
        stands_for[node.name] = inputs[0]
        for layer in found.layers:
            layers.append(layer.clone(inputs=() if inputs == (before,) else inputs))
            before = stands_for[node.name] = str(layer.name)
            inputs = (before,)
        if len(node.inputs) > 1 and not found.layers:
            raise WeightsError(f"the layer {node.name} ({node.kind}) takes several inputs")
    names = layer_names(layers)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise WeightsError(
            f"two layers are called {twice}, which is what the parts of a separable convolution are called"
        )
    return tuple(layers)


def _as_classifier(network: Network) -> Network:
    """The network with its softmax or sigmoid taken off, so that it gives logits."""
    shape = network.output_shapes[str(network.layers[-1].name)]
    layers, activation = _without_activation(network.layers)
    scored = activation in (None, "softmax", "sigmoid")
    if (len(shape) == 4 and activation is None) or (len(shape) in (2, 4) and not scored):
        return network
    if len(shape) != 2:
        raise WeightsError(
            f"it gives an array of shape {list(shape[1:])} for an image, where a classifier gives one row"
        )
    classifier = _classifier(layers, network.output_shapes)
    if activation is None and classifier is None:
        return network
    if shape[1] == 1 and activation != "softmax":
        note = "one value without a sigmoid is taken for the logit of the second class"
        notes = (*network.notes, note) if activation is None else network.notes
        return _two_classes(replace(network, layers=layers, notes=notes), classifier)
    if shape[1] == 1 or activation == "sigmoid":
        what = "one value with a softmax, always 1" if shape[1] == 1 else f"{shape[1]} values with a sigmoid each"
        raise WeightsError(f"it gives {what}; a classifier gives one value with a sigmoid, or several with a softmax")
    return replace(network, layers=layers, result="logits" if activation is None else "probabilities")


def _without_activation(layers: tuple[Layer, ...]) -> tuple[tuple[Layer, ...], str | None]:
    """The layers without the activation at the end, and which it was."""
    last = layers[-1]
    if isinstance(last, Activation) and len(layers) > 1 and not last.inputs:
        return layers[:-1], last.kind
    if isinstance(last, Dense | Conv):
        return (*layers[:-1], last.clone(activation=None)), last.activation
    return layers, None


def _classifier(layers: Sequence[Layer], shapes: dict[str, tuple[int, ...]]) -> int | None:
    """Where the layer stands that makes the logits: dense, or a 1 x 1 convolution of a map of one place."""
    for index in range(len(layers) - 1, -1, -1):
        layer = layers[index]
        if isinstance(layer, Dense) and layer.activation is None and len(shapes[str(layer.name)]) == 2:
            return index
        if isinstance(layer, Conv) and layer.activation is None:
            one_place = shapes[str(layer.name)][1:3] == (1, 1) and layer.kernel_size == layer.strides == (1, 1)
            return index if one_place and layer.groups == 1 else None
        if not isinstance(layer, Flatten | Reshape) or layer.inputs:
            return None
    return None


def _two_classes(network: Network, classifier: int | None) -> Network:
    """One value of a sigmoid as the second of two logits, of which the first is 0: the same probabilities."""
    if classifier is None or classifier != len(network.layers) - 1:
        raise WeightsError("it gives one value, but not of a dense layer at its end, which is all that can be read")
    layer = network.layers[classifier]
    name = str(layer.name)
    if not isinstance(layer, Dense):
        raise WeightsError("it gives one value of a convolution, where a dense layer can be read")
    places = tuple(
        replace(place, slots=tuple(replace(s, change=_behind_zeros) if s.layer == name else s for s in place.slots))
        for place in network.places
    )
    layers = (*network.layers[:classifier], layer.clone(features=2))
    return replace(network, layers=layers, places=places, result="probabilities")


def _behind_zeros(array: Float[np.ndarray, "*size 1"]) -> Float[np.ndarray, "*size 2"]:
    return np.concatenate([np.zeros_like(array), array], axis=-1)


def _as_dense(array: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return array[0, 0] if array.ndim == 4 and array.shape[:2] == (1, 1) else array


def _renamed(place: Place, old: str, new: str, was_convolution: bool) -> Place:
    """The place with arrays of the layer `old` going to `new`, a dense layer."""
    slots = tuple(
        replace(slot, layer=new, change=_as_dense if was_convolution else slot.change) if slot.layer == old else slot
        for slot in place.slots
    )
    return replace(place, slots=slots)


def _listed(values: Sequence[float]) -> str:
    return f"{values[0]:.6g}" if len(values) == 1 else "[" + ", ".join(f"{value:.6g}" for value in values) + "]"
