"""The new end of every network, as configured: hidden layers, dropout, and the classifier that is called `head`."""

import itertools
from collections.abc import Collection, Iterator

from cnn_jax.config import ModelConfig
from cnn_jax.models.layers import BatchNorm, Dense, Dropout, Flatten, GlobalAveragePool, Layer

HEAD = "head"
"""The name of the classifier layer of every model."""


def vector(config: ModelConfig) -> tuple[Layer, ...]:
    """From feature maps to the features that the head takes, float[b, c]: the mean of each channel, or all values."""
    return (Flatten(name="flatten") if config.top == "flatten" else GlobalAveragePool(name="global_pool"),)


def head_layers(config: ModelConfig, classes: int, taken: Collection[str]) -> tuple[Layer, ...]:
    """From features float[b, c] to logits float[b, classes].

    For each of `config.dense` a dense layer with ReLU, with `config.head_batch_norm` a batch normalisation, and
    dropout, in the order that Keras' tutorials have; then the classifier. Without hidden layers: dropout, classifier.

    Args:
        taken: names of the layers before, which the new ones may not have.
    """
    layers: list[Layer] = []
    dropout = [config.dropout] if config.adds_dropout else []
    for name, width in zip(_free(taken), config.dense, strict=False):
        layers.append(Dense(width, "relu", name=name))
        layers += [BatchNorm(name=f"{name}_bn")] if config.head_batch_norm else []
        layers += [Dropout(rate, name=f"{name}_dropout") for rate in dropout]
    if layers and dropout:
        layers.pop()
    last = "dropout" if "dropout" not in taken else f"{HEAD}_dropout"
    layers += [Dropout(rate, name=last) for rate in dropout]
    return (*layers, Dense(classes, name=HEAD))


def with_parameters(layers: Collection[Layer]) -> tuple[str, ...]:
    """The names of those of the head's layers that have parameters, in order."""
    return tuple(str(layer.name) for layer in layers if not isinstance(layer, Dropout))


def _free(taken: Collection[str]) -> Iterator[str]:
    """Those of dense1, dense2, … that no layer is called, or has before an underscore."""
    used = {name.partition("_")[0] for name in taken}
    return (name for number in itertools.count(1) if (name := f"dense{number}") not in used)
