"""A model: a chain, how its inputs are normalised, and which of its layers no pretrained file has."""

import contextlib
import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Key, Num

from cnn_jax.config.image_size import ImageSize, sides
from cnn_jax.models.chain import Chain, Variables, cut_before, depthwise_layers, layer_index, layer_names
from cnn_jax.models.head import HEAD
from cnn_jax.models.initializers import initial_value
from cnn_jax.models.layers import Dropout, Layer
from cnn_jax.models.normalisation import Normalisation, grey, normalise
from cnn_jax.models.parts import in_parts

Precision = Literal["float32", "tensorfloat32", "bfloat16"]

PRODUCTS = {"float32": "highest", "tensorfloat32": "high", "bfloat16": "default"}
"""What `jax.default_matmul_precision` is told; left alone, GPUs round the factors of float32 products to TF32."""

IMAGENET_CLASSES = 1000

Inputs = Num[Array, "b ..."]
"""Images uint8[b, h, w, 3], or what the layers before a `part` put out."""


@dataclass(frozen=True)
class Model:
    """A network for images of one size: uint8[b, h, w, 3] in, logits float32[b, classes] out."""

    layers: tuple[Layer, ...]
    image_size: ImageSize
    normalisation: Normalisation | None
    """None: the inputs are activations of the layers before, not images (see `part`)."""
    new_layers: tuple[str, ...] = (HEAD,)
    """The layers with parameters of the new head, which pretrained files lack: they start from random weights."""
    replaced_layers: tuple[str, ...] = ()
    """Layers of pretrained files that the new layers stand in for."""
    precision: Precision = "float32"
    """In which activations are computed; parameters, batch statistics and logits are float32 in any case.

    `tensorfloat32` is float32 but for the factors of products, which accelerators round to 10 bits after the point.
    """
    preceding: str | None = None
    """The layer whose output the model takes, where it is a `part`."""
    channels: int = 3
    """What the first layer takes; 1: images are made grey before anything else."""
    grey: bool = False
    """Images are made grey, also where the first layer takes three channels, which are equal then."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of the images that it is given: rows, columns and 3 channels."""
        return (*sides(self.image_size), 3)

    @property
    def takes_grey(self) -> bool:
        """Whether images are made grey before anything else."""
        return self.grey or self.channels == 1

    @property
    def chain(self) -> Chain:
        """The Flax module."""
        return Chain(self.layers, self.preceding)

    @functools.cached_property
    def _traced(self) -> tuple[Variables, dict[str, jax.ShapeDtypeStruct]]:
        """Shapes and dtypes of the variables, and of the output of each layer for one image; nothing is computed."""
        image = jax.ShapeDtypeStruct((1, *sides(self.image_size), self.channels), self.dtype)
        run = functools.partial(self.chain.init_with_output, taps=layer_names(self.layers))
        (_, outputs), variables = jax.eval_shape(run, jax.random.key(0), image)
        return {"params": {}, "batch_stats": {}, **variables}, outputs

    @property
    def shapes(self) -> Variables:
        """Of the variables: {"params": {layer: {leaf: ShapeDtypeStruct}}, "batch_stats": {layer: {…}}}, as float32."""
        return self._traced[0]

    @property
    def parameter_shapes(self) -> Variables:
        """Those of the parameters, of every layer and in the order of the chain; {} for a layer without any."""
        return {name: self.shapes["params"].get(name, {}) for name in layer_names(self.layers)}

    @property
    def output_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shape, with a batch axis of 1, and dtype of each layer's output."""
        return self._traced[1]

    def init(self, seed: int, shapes: Variables | None = None) -> Variables:
        """Random variables of these `shapes`: NumPy arrays, the same for the same seed everywhere.

        Args:
            shapes: those of the model, of which some may be arrays already; None: all are drawn.
        """
        depthwise = depthwise_layers(self.layers)
        return {
            collection: {
                layer: {
                    leaf: initial_value(f"{collection}/{layer}/{leaf}", value.shape, seed, layer in depthwise)
                    if isinstance(value, jax.ShapeDtypeStruct)
                    else value
                    for leaf, value in leaves.items()
                }
                for layer, leaves in layers.items()
            }
            for collection, layers in (shapes or self.shapes).items()
        }

    def part(self, start: int, stop: int | None = None) -> "Model":
        """The layers from position `start` to before `stop`; from 0 it takes images, else the output of `start - 1`.

        It runs with the variables of the whole model.

        Raises:
            ValueError: more than one output is read across `start` (see `cut_before`).
        """
        if self.cut_before(start) != start:
            raise ValueError(
                f"the model cannot be cut before {self.layers[start].name}: a residual connection spans it"
            )
        if start == 0:
            return replace(self, layers=self.layers[:stop])
        preceding = str(self.layers[start - 1].name)
        return replace(self, layers=self.layers[start:stop], normalisation=None, preceding=preceding)

    def cut_before(self, index: int) -> int:
        """The last position up to `index` from which on the layers can run alone, given the output of the one before.

        That is `index` itself unless a connection spans it: a layer from there on takes an earlier output.
        """
        return cut_before(self.layers, index, self.preceding)

    def outputs(self, variables: Variables, inputs: Inputs, as_from_images: bool = False) -> Float[Array, "b ..."]:
        """Inference: the output of the last layer, of `dtype`.

        Args:
            as_from_images: run activations in such parts of the batch as their images are run in. Where the layers
                before did so, the result is bit for bit that of all layers together.
        """
        size = self.image_size if as_from_images else None
        return in_parts(lambda part: self._apply(variables, self.prepare(part))[0], inputs, size)

    def logits(self, variables: Variables, inputs: Inputs) -> Float32[Array, "b classes"]:
        """Inference: before the softmax."""
        return self.outputs(variables, inputs).astype(jnp.float32)

    def probabilities(self, variables: Variables, inputs: Inputs) -> Float32[Array, "b classes"]:
        """Inference: the softmax of `logits`."""
        return jax.nn.softmax(self.logits(variables, inputs), axis=-1)

    def features(self, variables: Variables, inputs: Inputs) -> Float32[Array, "b d"]:
        """Inference: what the classifier is given, as rows."""
        start = self.part(0, len(self.layers) - 1)
        return start.outputs(variables, inputs).reshape(len(inputs), -1).astype(jnp.float32)

    def activations(
        self, variables: Variables, inputs: Inputs, names: Collection[str]
    ) -> dict[str, Float[Array, "b ..."]]:
        """Inference: the outputs of the layers called `names`."""
        return self._apply(variables, self.prepare(inputs), taps=names)[1]

    def logits_with_offsets(
        self, variables: Variables, inputs: Inputs, offsets: Mapping[str, Float[Array, "b ..."]]
    ) -> tuple[Float32[Array, "b classes"], dict[str, Float[Array, "b ..."]]]:
        """Inference: the logits, and the outputs of the layers that `offsets` names, each after its offset was added.

        At offsets of zero, the derivatives by them are those by the outputs.
        """
        x, outputs = self._apply(variables, self.prepare(inputs), taps=tuple(offsets), offsets=offsets)
        return x.astype(jnp.float32), outputs

    def train_logits(
        self, variables: Variables, inputs: Inputs, dropout_key: Key[Array, ""], inference_layers: Collection[str]
    ) -> tuple[Float32[Array, "b classes"], dict[str, Any]]:
        """As `logits` but in training mode, except for `inference_layers`; also the new batch statistics."""
        (logits, _), updates = self._apply(
            variables,
            self.prepare(inputs),
            train=True,
            inference_layers=inference_layers,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        return logits.astype(jnp.float32), {**variables["batch_stats"], **updates.get("batch_stats", {})}

    def prepare(self, inputs: Inputs) -> Float[Array, "b ..."]:
        """Images normalised in float32, then everything in the dtype of the computation."""
        if self.normalisation is not None:
            if self.takes_grey:
                inputs = jnp.repeat(grey(inputs), self.channels, axis=-1)
            inputs = normalise(inputs, self.normalisation)
        return inputs.astype(self.dtype)

    @property
    def classes(self) -> int:
        """How many it tells apart: the length of the last layer's output."""
        return int(self.output_shapes[str(self.layers[-1].name)].shape[-1])

    @property
    def dtype(self) -> str:
        """Of activations."""
        return "bfloat16" if self.precision == "bfloat16" else "float32"

    def products(self) -> contextlib.AbstractContextManager[Any]:
        """What products and convolutions, and their gradients, are to be traced in. On CPU they are exact anyway."""
        if jax.default_backend() == "cpu":
            return contextlib.nullcontext()
        return jax.default_matmul_precision(PRODUCTS[self.precision])

    def _apply(self, *arguments: Any, **named: Any) -> Any:
        with self.products():
            return self.chain.apply(*arguments, **named)

    def layers_before(self, name: str, field: str) -> tuple[str, ...]:
        """Names of the layers before the one called `name`; `none` is the start of the chain, `head` the new head.

        A dropout just before it goes with it: the head's dropout stays active where only the head trains.

        Raises:
            ConfigError: no such layer; `field` is the setting that the message names.
        """
        first = self.new_layers[0] if name == HEAD and self.new_layers else name
        others = "; of every network: none, head"
        index = 0 if name == "none" else layer_index(self.layers, first, field, others)
        while index and isinstance(self.layers[index - 1], Dropout):
            index -= 1
        return tuple(layer_names(self.layers[:index]))
