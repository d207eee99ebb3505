"""A model: a chain, how its inputs are normalised, and which of its layers no pretrained file has."""

import functools
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models import mobilenet, simple_cnn
from cnn_jax.models.chain import Chain, Variables, layer_index, layer_names
from cnn_jax.models.layers import Dense, Dropout, GlobalAveragePool, Layer

Normalisation = Literal["tf"]
Precision = Literal["float32", "bfloat16"]

HEAD = "head"
"""The name of the classifier layer of every model."""


@dataclass(frozen=True)
class Model:
    """A network for images of one size: uint8[b, s, s, 3] in, logits float32[b, classes] out."""

    layers: tuple[Layer, ...]
    image_size: int
    normalisation: Normalisation | None
    """None: the inputs are activations of the layers before, not images (see `part`)."""
    new_layers: tuple[str, ...] = (HEAD,)
    """Layers that pretrained files lack: they start from random weights."""
    replaced_layers: tuple[str, ...] = ()
    """Layers of pretrained files that the new layers stand in for."""
    precision: Precision = "float32"
    """In which activations are computed; parameters, batch statistics and logits are float32 in any case."""

    def init(self, key: jax.Array) -> Variables:
        """Random variables: {"params": {layer: {leaf: float32}}, "batch_stats": {layer: {leaf: float32}}}."""
        images = jnp.zeros((1, self.image_size, self.image_size, 3))
        return {"params": {}, "batch_stats": {}, **Chain(self.layers).init(key, images)}

    def part(self, start: int, stop: int | None = None) -> "Model":
        """The layers from position `start` to before `stop`; from 0 it takes images, else the output of `start - 1`.

        It runs with the variables of the whole model.
        """
        normalisation = self.normalisation if start == 0 else None
        return replace(self, layers=self.layers[start:stop], normalisation=normalisation)

    def outputs(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Inference: the output of the last layer, in the dtype of `precision`."""
        return Chain(self.layers).apply(variables, self._prepare(inputs))[0]

    def logits(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Inference: uint8[b, s, s, 3] (or what `part` takes) to float32[b, classes]."""
        return self.outputs(variables, inputs).astype(jnp.float32)

    def probabilities(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Inference: the softmax of `logits`."""
        return jax.nn.softmax(self.logits(variables, inputs), axis=-1)

    def activations(self, variables: Variables, inputs: jax.Array, names: Collection[str]) -> dict[str, jax.Array]:
        """Inference: the outputs of the layers called `names`."""
        return Chain(self.layers).apply(variables, self._prepare(inputs), taps=names)[1]

    def train_logits(
        self, variables: Variables, inputs: jax.Array, dropout_key: jax.Array, inference_layers: Collection[str]
    ) -> tuple[jax.Array, dict[str, Any]]:
        """As `logits` but in training mode, except for `inference_layers`; also the new batch statistics."""
        (logits, _), updates = Chain(self.layers).apply(
            variables,
            self._prepare(inputs),
            train=True,
            inference_layers=inference_layers,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        return logits.astype(jnp.float32), {**variables["batch_stats"], **updates.get("batch_stats", {})}

    def _prepare(self, inputs: jax.Array) -> jax.Array:
        """Images normalised in float32, then everything in the dtype of the computation."""
        if self.normalisation is not None:
            inputs = normalise(inputs, self.normalisation)
        return inputs.astype(self.precision)

    def layers_before(self, name: str, field: str) -> tuple[str, ...]:
        """Names of the layers before the one called `name`; `none` is the start of the chain.

        A dropout just before it goes with it: the classifier's dropout stays active where only the classifier trains.

        Raises:
            ConfigError: no such layer; `field` is the setting that the message names.
        """
        index = 0 if name == "none" else layer_index(self.layers, name, field)
        while index and isinstance(self.layers[index - 1], Dropout):
            index -= 1
        return tuple(layer_names(self.layers[:index]))


def normalise(images: jax.Array, mode: Normalisation) -> jax.Array:
    """uint8[b, h, w, 3] as float32 in the range that the weights expect.

    "tf" is Keras' name for x / 127.5 - 1, the inputs of MobileNet.
    """
    assert mode == "tf", mode
    return images.astype(jnp.float32) / 127.5 - 1


def build(config: ModelConfig, classes: int, precision: Precision = "float32") -> Model:
    """The model that `config` describes, with a classifier for so many classes.

    Raises:
        ConfigError: the images are too small for the layers.
    """
    if config.name == "mobilenet":
        layers = (
            *mobilenet.body(config.alpha),
            GlobalAveragePool(name="global_pool"),
            Dropout(config.dropout, name="dropout"),
            Dense(classes, name=HEAD),
        )
        model = Model(layers, config.image_size, "tf", replaced_layers=("conv_preds",), precision=precision)
    else:
        body = simple_cnn.body(
            config.filters,
            config.kernel_size,
            config.strides,
            config.padding,
            config.pool_size,
            config.pool_strides,
        )
        layers = (*body, Dropout(config.dropout, name="dropout"), Dense(classes, name=HEAD))
        model = Model(layers, config.image_size, "tf", precision=precision)
    _check_size(model, config)
    return model


def _check_size(model: Model, config: ModelConfig) -> None:
    """Every layer must leave something of the image: shapes alone, nothing is computed."""
    chain, size = Chain(model.layers), config.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    try:
        variables = jax.eval_shape(chain.init, jax.random.key(0), images)
        taps = functools.partial(chain.apply, taps=layer_names(model.layers))
        outputs = jax.eval_shape(taps, variables, images)[1]
        vanished = next((name for name in layer_names(model.layers) if 0 in outputs[name].shape), None)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"model.image_size={size} is too small for {config.name}: {error}") from error
    if vanished is not None:
        raise ConfigError(
            f"model.image_size={size} is too small for {config.name}: nothing is left of the image after the layer "
            f"{vanished}; use larger images, or fewer or smaller layers"
        )
