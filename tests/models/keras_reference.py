"""Keras' own models as the reference: built, given random weights, saved in the layout of the published files."""

import contextlib
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import keras
import numpy as np

from cnn_jax.config import ModelConfig
from cnn_jax.models.chain import Variables, depthwise_layers, layer_names
from cnn_jax.models.model import Model
from cnn_jax.models.normalisation import normalise
from cnn_jax.weights import transfer
from cnn_jax.weights.readers import keras_h5

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest absolute value of the layer."""

APPLICATIONS = {
    "vgg16": keras.applications.VGG16,
    "vgg19": keras.applications.VGG19,
    "mobilenet": keras.applications.MobileNet,
    "mobilenet_v2": keras.applications.MobileNetV2,
}
PREPROCESSING = {
    "vgg16": keras.applications.vgg16.preprocess_input,
    "vgg19": keras.applications.vgg19.preprocess_input,
    "mobilenet": keras.applications.mobilenet.preprocess_input,
    "mobilenet_v2": keras.applications.mobilenet_v2.preprocess_input,
}


@contextlib.contextmanager
def quiet_keras() -> Iterator[None]:
    """Keras warns of sizes without pretrained weights even where none are asked for, and of its own formats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def application(config: ModelConfig, *, top: bool, weights: Path | None = None) -> keras.Model:
    """Keras' model of the same name, width and size; with `top` the logits of 1000 classes."""
    keras.utils.clear_session()  # so that unnamed layers are not numbered on
    width = {"alpha": config.alpha} if config.name.startswith("mobilenet") else {}
    with quiet_keras():
        return APPLICATIONS[config.name](
            input_shape=(config.image_size, config.image_size, 3),
            include_top=top,
            weights=None if weights is None else str(weights),
            classifier_activation=None,
            **width,
        )


def randomise(model: keras.Model, rng: np.random.Generator) -> None:
    """New values for every weight and statistic, such that activations neither vanish nor all saturate.

    The spread comes from the offsets, not from large factors: those would blow up float32's rounding layer by layer.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            randomise(layer, rng)
        elif isinstance(layer, keras.layers.BatchNormalization):
            c = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, c),
                    rng.permutation(np.linspace(-3, 7, c)),
                    rng.normal(0, 0.5, c),
                    rng.uniform(0.5, 2, c),
                ]
            )
        elif layer.get_weights():
            kernel, *bias = (w.shape for w in layer.get_weights())
            fan_in = math.prod(kernel[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel[:-1])
            layer.set_weights(
                [rng.standard_normal(kernel, np.float32) / fan_in**0.5, *(rng.normal(size=b) for b in bias)]
            )


def save_legacy(model: keras.Model, path: Path) -> None:
    """The layout and names of the published files."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            names = [f"{layer.name}/{'depthwise_kernel' if depthwise else w.name}:0" for w in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


def load(model: Model, path: Path) -> tuple[Variables, transfer.Transfer]:
    """The file's weights in the model."""
    return transfer.merge(
        model.shapes,
        keras_h5.read(path),
        new_layers=model.new_layers,
        replaced_layers=model.replaced_layers,
        depthwise_layers=depthwise_layers(model.layers),
        source=str(path),
    )


def sample_images(size: int, count: int = 2) -> np.ndarray:
    """uint8[count, size, size, 3]: noise, and one smooth image."""
    images = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, size).astype(np.uint8)[:, None]
    images[-1] = np.stack(np.broadcast_arrays(ramp, 255 - ramp, ramp // 2), -1).reshape(size, 1, 3)
    return images


def assert_close(actual: jax.Array, expected: np.ndarray, name: str, tolerance: float = TOLERANCE) -> None:
    """Equal relative to the largest absolute value."""
    assert actual.shape == expected.shape, name
    scale = np.abs(expected).max()
    assert scale > 0, name
    assert np.abs(actual - expected).max() < tolerance * scale, name


def assert_every_layer_equal(model: Model, variables: Variables, reference: keras.Model, config: ModelConfig) -> None:
    """Compare what each layer gives for the same uint8 images, each library with its own preprocessing."""
    images = sample_images(config.image_size)
    names = layer_names(model.layers)
    outputs = {layer.name: layer.output for layer in reference.layers if layer.name in names}
    assert set(outputs) == set(names), f"in one network alone: {sorted(set(outputs) ^ set(names))}"
    prepared = PREPROCESSING[config.name](images.astype(np.float32))
    expected = keras.Model(reference.input, outputs)(prepared, training=False)

    def tapped(variables: Variables, images: jax.Array) -> dict[str, jax.Array]:
        return model.chain.apply(variables, normalise(images, model.normalisation), taps=names)[1]

    actual = jax.jit(tapped)(variables, jnp.asarray(images))
    for name in names:
        assert_close(actual[name], np.asarray(expected[name]), name)
    if config.alpha < 0.5:  # untapped, batch normalisation and rectifier run in one; another program to compile
        assert_close(jax.jit(model.outputs)(variables, jnp.asarray(images)), np.asarray(expected[names[-1]]), "logits")
