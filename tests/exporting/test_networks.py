"""Networks of every kind in every format: each runtime gives the network's probabilities."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.data.preprocess import Resize
from cnn_jax.exporting import conversion
from cnn_jax.exporting.checking import NETWORKS
from cnn_jax.exporting.description import Description
from cnn_jax.exporting.formats import FormatName
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from tests.models.keras_networks import images, loaded, nested_mobilenet, own_cnn, randomise, saved

FORMATS: list[FormatName] = ["litert", "onnx", "saved-model", "keras", "keras-h5", "stablehlo"]
"""In float32."""
slow = pytest.mark.slow
pytestmark = pytest.mark.long


def residual() -> keras.Model:
    """Padding, batch normalisation without a scale, and two connections, one of them through a convolution."""
    keras.utils.clear_session()
    layers = keras.layers
    x = inputs = keras.Input((32, 32, 3))
    x = layers.ZeroPadding2D(1)(layers.Rescaling(1 / 255)(x))
    x = layers.ReLU()(layers.BatchNormalization(scale=False)(layers.Conv2D(8, 3, strides=2, use_bias=False)(x)))
    for filters, strides in ((8, 1), (12, 2)):
        y = layers.Conv2D(filters, 3, strides=strides, padding="same", activation="relu")(x)
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
        x = layers.ReLU()(layers.Add()([y, x if strides == 1 else layers.Conv2D(filters, 1, strides=strides)(x)]))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def from_keras(model: keras.Model, folder: Path, **settings: str) -> tuple[Model, Variables]:
    network = loaded(saved(randomise(model), folder / "mine.keras"), **settings)
    return network.model, network.variables


def made(**fields: object) -> tuple[Model, Variables]:
    model = build(ModelConfig(**{"weights": "none", "image_size": 32, **fields}), 3)  # type: ignore[arg-type]
    return model, model.init(0)


def spread(network: tuple[Model, Variables]) -> tuple[Model, Variables]:
    """With larger kernels: through those that training begins with, so many linear layers let nothing of an image."""
    model, variables = network

    def larger(path: tuple[Any, ...], values: Any) -> Any:
        if path[-1].key != "kernel":
            return values
        return values * np.float32(np.sqrt(2 / np.prod(values.shape[:-1])) / np.std(values))

    return model, jax.tree_util.tree_map_with_path(larger, variables)


KINDS: dict[str, Callable[[Path], tuple[Model, Variables]]] = {
    "a MobileNet in a Keras file": lambda folder: from_keras(nested_mobilenet(), folder),
    "grey, not square": lambda _: made(
        name="simple_cnn", image_size=(20, 28), channels=1, batch_norm=True, dense=(8,), head_batch_norm=True
    ),
    "residual": lambda folder: from_keras(residual(), folder),
    "one sigmoid": lambda folder: from_keras(own_cnn("sigmoid", 1), folder, normalisation="unit"),
    "three equal channels": lambda _: made(name="vgg16", channels=1),
    "MobileNetV2": lambda _: spread(made(name="mobilenet_v2", alpha=0.35)),
    "VGG16 with fc": lambda _: made(name="vgg16", top="fc"),
}


@pytest.mark.parametrize("kind", [kind if i < 2 else pytest.param(kind, marks=slow) for i, kind in enumerate(KINDS)])
def test_every_format_gives_the_probabilities_of_the_network(kind: str, in_this_process: None, tmp_path: Path) -> None:
    model, variables = KINDS[kind](tmp_path)
    description = Description("mine", tuple(map(str, range(model.classes))), Resize(model.image_size))
    files = conversion.convert(FORMATS, model, variables, description, tmp_path, None, lambda name: None)
    pixels = images(size=model.image_size)
    expected = np.asarray(model.probabilities(variables, pixels))
    assert expected.std(0).max() > 1e-4, "the images must matter"
    for name, path in files.items():
        network = NETWORKS[name](path)
        assert (network.image_size, network.classes) == (model.image_size, model.classes), name
        np.testing.assert_allclose(network.probabilities(pixels), expected, rtol=0, atol=1e-5, err_msg=name)
