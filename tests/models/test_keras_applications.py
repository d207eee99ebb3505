"""Every network of Keras Applications, read from its file: outputs, probabilities and gradients are Keras'."""

import functools
import gc
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf

from cnn_jax.models.chain import layer_names
from cnn_jax.weights import keras_description
from cnn_jax.weights.pretrained import Pretrained
from tests.models.keras_networks import loaded, randomise, saved
from tests.models.keras_reference import quiet_keras

OUTPUTS, GRADIENTS = 1e-4, 1e-3
"""Largest differences, relative to the largest value of a layer or gradient; of probabilities, absolute."""

SMALL = (
    "ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3",
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile", "ResNet50", "ResNet50V2", "VGG16", "Xception",
)  # fmt: skip
"""The smallest of each family; the others take minutes each."""
QUICK = ("MobileNetV3Small", "DenseNet121")
"""Of these, one for each way to put layers together: added, joined; others: `make test-slow`."""
LARGE_INPUTS = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
"""Rows and columns that they need at least; 64 for the others."""
ALL = sorted(name for name in dir(keras.applications) if name[0].isupper())


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[keras.Model, Pretrained, np.ndarray]:
    """Keras' network with random weights, read from its file by Keras and here, and what both are given."""
    name = request.param
    keras.utils.clear_session()
    gc.collect()
    size = LARGE_INPUTS.get(name, 64)
    with quiet_keras():
        model = randomise(getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10))
        settle(model, patches(16, size, seed=2))
        path = saved(model, tmp_path / "network.keras")
        model = keras.models.load_model(path)  # only so does Normalization use its arrays
    scaled = keras_description.network(path).scaling is None
    network = loaded(path, normalisation="tf" if scaled else "auto")
    return model, network, patches(2, size, seed=1)


def patches(count: int, size: int, seed: int) -> np.ndarray:
    """uint8[count, size, size, 3]: squares of random colours, so that images differ more than they have in common."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return squares.repeat(-(-size // 6), axis=1).repeat(-(-size // 6), axis=2)[:, :size, :size]


def settle(model: keras.Model, pixels: np.ndarray) -> None:
    """Give the batch normalisations the statistics of these images, so that values neither explode nor vanish."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    scales = any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers)
    for layer in norms:
        layer.momentum = 0.0
    model(pixels.astype(np.float32) / (1 if scales else 127.5) - (0 if scales else 1), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
        variance = np.asarray(layer.moving_variance)
        layer.moving_variance.assign(np.maximum(variance, variance.mean()))  # small ones make rounding errors large


def inputs(network: Pretrained, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(network.model.prepare(jnp.asarray(pixels)))


@pytest.mark.parametrize(
    "made",
    [
        *(pytest.param(name, marks=pytest.mark.long) for name in QUICK),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ALL if name not in QUICK),
    ],
    indirect=True,
)
def test_every_layer_gives_what_keras_gives(made: tuple[keras.Model, Pretrained, np.ndarray]) -> None:
    model, network, pixels = made
    names = layer_names(network.model.layers)
    outputs = {layer.name: layer.output for layer in model.layers if layer.name in names[:-1]}
    expected = keras.Model(model.input, {**outputs, "result": model.output})(inputs(network, pixels), training=False)
    found = jax.jit(network.model.activations, static_argnames="names")(network.variables, pixels, names=tuple(names))
    for name in outputs:
        scale = np.abs(np.asarray(expected[name])).max()
        np.testing.assert_allclose(found[name] / scale, expected[name] / scale, atol=OUTPUTS, err_msg=name)
    assert len(outputs) > len(names) * 0.75  # operations and parts of separable convolutions are no layers in Keras
    probabilities = np.asarray(jax.jit(network.model.probabilities)(network.variables, pixels))
    np.testing.assert_allclose(probabilities, expected["result"], atol=OUTPUTS)
    rounding = np.abs(probabilities - np.asarray(expected["result"])).max()
    assert np.ptp(probabilities, axis=0).max() > 100 * rounding  # the weights let something of the images through


def layer_of(model: keras.Model, path: tuple[str, ...]) -> keras.layers.Layer:
    """The layer of that name, after the models that it lies in."""
    return functools.reduce(lambda inside, name: inside.get_layer(name), path, model)


@pytest.mark.slow
@pytest.mark.parametrize("made", SMALL, indirect=True)
def test_the_gradients_of_a_loss_are_those_of_keras(made: tuple[keras.Model, Pretrained, np.ndarray]) -> None:
    model, network, pixels = made

    def loss(params):
        logits = network.model.logits({**network.variables, "params": params}, pixels)
        return -jax.nn.log_softmax(logits)[:, 3].mean()

    found = jax.jit(jax.grad(loss))(network.variables["params"])
    with tf.GradientTape() as tape:
        value = -tf.reduce_mean(tf.math.log(model(inputs(network, pixels), training=False)[:, 3]))
    variables = [weight for weight in model.weights if weight.trainable]
    gradients = dict(zip(map(id, variables), tape.gradient(value, [v.value for v in variables]), strict=True))
    largest = max(float(np.abs(g).max()) for g in gradients.values())
    for place in keras_description.network(network.path).places:
        for slot, weight in zip(place.slots, layer_of(model, place.path).weights, strict=True):
            if id(weight) in gradients:
                expected = slot.change(np.asarray(gradients[id(weight)]))
                scale = max(float(np.abs(expected).max()), 1e-4 * largest)
                given = np.asarray(found[slot.layer][slot.leaf])
                np.testing.assert_allclose(given / scale, expected / scale, atol=GRADIENTS, err_msg=weight.path)
