"""MobileNet against keras.applications.MobileNet, layer by layer, with random and with real weights."""

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
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models import mobilenet
from cnn_jax.models.chain import Chain, Variables, depthwise_layers, layer_names
from cnn_jax.models.layers import Layer
from cnn_jax.models.model import build
from cnn_jax.weights import keras_h5, transfer

TOLERANCE = 1e-4

COMBINATIONS = [(0.25, 128), (0.25, 150), (0.5, 160), (0.5, 192), (0.75, 150), (0.75, 224), (1.0, 128)]
"""(alpha, image size)"""

TOTALS = {
    1.0: (3_228_864, 4_253_864),
    0.75: (1_832_976, 2_601_976),
    0.5: (829_536, 1_342_536),
    0.25: (218_544, 475_544),
}
"""Parameters with batch statistics by alpha: without the top, and with the top for 1000 classes."""


@contextlib.contextmanager
def quiet_keras() -> Iterator[None]:
    """Keras warns of sizes without pretrained weights even where none are asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def keras_mobilenet(alpha: float, size: int, *, top: bool, classes: int = 1000, weights: Path | None = None):
    keras.utils.clear_session()  # so that unnamed layers are not numbered on
    with quiet_keras():
        return keras.applications.MobileNet(
            input_shape=(size, size, 3),
            alpha=alpha,
            include_top=top,
            classes=classes,
            weights=None if weights is None else str(weights),
            classifier_activation=None,
        )


def randomise(model: keras.Model, rng: np.random.Generator) -> None:
    """New values for every weight and statistic, such that activations neither vanish nor all saturate.

    The spread comes from the offsets, not from large factors: those would blow up float32's rounding layer by layer.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
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
            fan_in = math.prod(kernel[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel[:3])
            layer.set_weights([rng.normal(0, fan_in**-0.5, kernel), *(rng.normal(size=b) for b in bias)])


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


def chain_layers(alpha: float, classes: int | None) -> tuple[Layer, ...]:
    top = () if classes is None else mobilenet.top(classes)
    return (*mobilenet.body(alpha), *top)


def load(layers: tuple[Layer, ...], size: int, path: Path) -> Variables:
    shapes = jax.eval_shape(Chain(layers).init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    loaded = keras_h5.read(path)
    depthwise = depthwise_layers(layers)
    return transfer.merge(
        shapes, loaded, new_layers=(), replaced_layers=(), depthwise_layers=depthwise, source=str(path)
    )[0]


def assert_every_layer_equal(
    layers: tuple[Layer, ...], variables: Variables, model: keras.Model, size: int, *, fused: bool
) -> None:
    """Compare the tapped outputs with Keras'; with `fused` also the result of the run in which nothing is tapped."""
    rng = np.random.default_rng(1)
    images = rng.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    images[1] = np.linspace(-1, 1, size, dtype=np.float32)[:, None, None] * [1, -1, 0.5]
    names = layer_names(layers)
    outputs = {layer.name: layer.output for layer in model.layers if layer.name in names}
    assert list(outputs) == names
    expected = keras.Model(model.input, outputs)(images, training=False)
    result, tapped = jax.jit(lambda v, x: Chain(layers).apply(v, x, taps=names))(variables, images)
    np.testing.assert_array_equal(result, tapped[names[-1]])
    worst = {}
    for name in names:
        reference = np.asarray(expected[name])
        assert tapped[name].shape == reference.shape, name
        worst[name] = np.abs(tapped[name] - reference).max() / max(1.0, np.abs(reference).max())
    assert {name: error for name, error in worst.items() if not error < TOLERANCE} == {}
    if fused:
        untapped, _ = jax.jit(lambda v, x: Chain(layers).apply(v, x))(variables, images)
        np.testing.assert_allclose(untapped, result, rtol=0, atol=TOLERANCE * max(1, np.abs(result).max()))


@pytest.mark.parametrize(("alpha", "size"), COMBINATIONS)
def test_with_random_weights_every_layer_equals_keras(alpha, size, tmp_path):
    model = keras_mobilenet(alpha, size, top=True, classes=7)
    randomise(model, np.random.default_rng(0))
    save_legacy(model, tmp_path / "weights.h5")
    layers = chain_layers(alpha, 7)
    assert_every_layer_equal(layers, load(layers, size, tmp_path / "weights.h5"), model, size, fused=alpha == 0.25)


def test_the_random_weights_reach_both_bends_of_relu6_in_every_layer():
    model = keras_mobilenet(0.25, 128, top=False)
    randomise(model, np.random.default_rng(0))
    outputs = {layer.name: layer.output for layer in model.layers if layer.name.endswith("_bn")}
    images = np.random.default_rng(1).uniform(-1, 1, (2, 128, 128, 3)).astype(np.float32)
    for name, values in keras.Model(model.input, outputs)(images, training=False).items():
        assert (np.asarray(values) < 0).any(), name
        assert (np.asarray(values) > 6).any(), name


def test_real_weights_without_top_give_keras_features_at_every_layer(real_weights):
    path = real_weights / "mobilenet_2_5_224_tf_no_top.h5"
    model = keras_mobilenet(0.25, 224, top=False, weights=path)
    layers = chain_layers(0.25, None)
    assert_every_layer_equal(layers, load(layers, 224, path), model, 224, fused=True)


def test_real_weights_with_top_give_keras_logits(real_weights):
    path = real_weights / "mobilenet_7_5_224_tf.h5"
    model = keras_mobilenet(0.75, 224, top=True, weights=path)
    layers = chain_layers(0.75, 1000)
    variables = load(layers, 224, path)
    assert_every_layer_equal(layers, variables, model, 224, fused=False)
    images = np.random.default_rng(2).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    logits, _ = jax.jit(lambda v, x: Chain(layers).apply(v, x))(variables, images)
    np.testing.assert_allclose(logits, np.asarray(model(images, training=False)), rtol=0, atol=1e-4)


def count(layers: tuple[Layer, ...], size: int = 224) -> int:
    shapes = jax.eval_shape(Chain(layers).init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("alpha", TOTALS)
def test_parameter_counts_are_those_that_keras_prints(alpha):
    without_top, with_top = TOTALS[alpha]
    assert count(chain_layers(alpha, None)) == without_top
    assert count(chain_layers(alpha, 1000)) == with_top


def test_ten_classes_at_full_width_have_3239114_parameters():
    model = build(ModelConfig(name="mobilenet", alpha=1.0), classes=10)
    assert sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))) == 3_239_114


@pytest.mark.parametrize("alpha", [0.33, 1.3])
def test_other_widths_truncate_the_channels_as_keras_does(alpha):
    with quiet_keras():
        model = keras_mobilenet(alpha, 96, top=False)
    assert count(chain_layers(alpha, None), 96) == model.count_params()


@pytest.mark.parametrize(("size", "last"), [(224, 7), (150, 4), (33, 1)])
def test_the_final_map_has_keras_size(size, last):
    layers = chain_layers(0.25, None)
    chain = Chain(layers)
    shapes = jax.eval_shape(lambda x: chain.init_with_output(jax.random.key(0), x)[0][0], jnp.zeros((1, size, size, 3)))
    with quiet_keras():
        assert shapes.shape == (1, *keras_mobilenet(0.25, size, top=False).output_shape[1:])
    assert shapes.shape == (1, last, last, 256)


@pytest.mark.parametrize("size", [1, 8, 16])
def test_images_that_vanish_in_the_network_are_an_error(size):
    with pytest.raises(ConfigError, match=f"model.image_size={size} is too small"):
        build(ModelConfig(image_size=size, alpha=0.25), classes=2)
