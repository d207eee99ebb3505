"""Networks as people make them in Keras, with random weights, saved as whole models; and what Keras says of images."""

from pathlib import Path

import jax
import keras
import numpy as np
from PIL import Image

from cnn_jax.config.image_size import ImageSize, sides
from cnn_jax.data.preprocess import Resize
from cnn_jax.weights import pretrained
from cnn_jax.weights.options import PretrainedConfig
from cnn_jax.weights.pretrained import Pretrained
from tests.models.keras_reference import quiet_keras

SIZE = 32


def opened(path: str | Path, resize: Resize) -> np.ndarray:
    """The pixels of a photograph, uint8[h, w, 3]: Pillow's, resized as `Resize` does."""
    with Image.open(path) as image:
        return resize.array(np.asarray(image.convert("RGB")))


def own_cnn(ending: str = "softmax", units: int = 2, channels: int = 3, size: ImageSize = SIZE) -> keras.Model:
    """The course's own network, with the names that Keras gives."""
    keras.utils.clear_session()
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((*sides(size), channels)),
            layers.Conv2D(8, 3, activation="relu", padding="same"),
            layers.MaxPool2D(2, strides=2),
            layers.Conv2D(12, 3, activation="relu", padding="same"),
            layers.MaxPool2D(2, strides=2),
            layers.Flatten(),
            layers.Dense(units, activation=ending),
        ]
    )


def nested_mobilenet(top: str = "dense") -> keras.Model:
    """A MobileNet inside of a Sequential with a scaling by constants and one by statistics, and two dense layers."""
    keras.utils.clear_session()
    layers = keras.layers
    with quiet_keras():
        body = keras.applications.MobileNet(
            input_shape=(SIZE, SIZE, 3), alpha=0.25, include_top=False, weights=None, name="body"
        )
    return keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 3)),
            layers.RandomFlip("horizontal"),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Normalization(),
            body,
            layers.GlobalAveragePooling2D(),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(2, activation="softmax"),
        ],
        name="nested",
    )


def mobilenet_of_two_classes() -> keras.Model:
    """Keras' own MobileNet, whose classifier is the convolution `conv_preds`."""
    keras.utils.clear_session()
    with quiet_keras():
        return keras.applications.MobileNet(input_shape=(SIZE, SIZE, 3), alpha=0.25, weights=None, classes=2)


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """New values for every weight, so that activations neither vanish nor all saturate, away from 0 and 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        name, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
        if "kernel" in name:
            depthwise = "depthwise" in weight.path or "dwise" in weight.path or "conv_dw" in weight.path
            fan = np.prod(shape[:2] if depthwise else shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(2 / fan), shape))
        elif name in ("moving_variance", "variance", "gamma"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
        elif name not in ("count", "seed_generator_state"):
            weight.assign(rng.normal(0, 0.2, shape))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            layer.finalize_state()  # which only loading a file does
    return model


def saved(model: keras.Model, path: Path) -> Path:
    """The whole model as a file."""
    with quiet_keras():
        model.save(path)
    return path


def images(count: int = 3, size: ImageSize = SIZE, seed: int = 1) -> np.ndarray:
    """uint8[count, h, w, 3]: noise on ramps."""
    rng, (height, width) = np.random.default_rng(seed), sides(size)
    ramp = np.linspace(0, 200, height)[:, None, None]
    return (ramp + rng.integers(0, 55, (count, height, width, 3))).astype(np.uint8)


def loaded(path: Path, **settings) -> Pretrained:
    """The file as the commands read it."""
    return pretrained.load(PretrainedConfig(name="keras", weights=str(path), **settings), need_top=False)


def probabilities(network: Pretrained, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(network.model.probabilities)(network.variables, pixels))
