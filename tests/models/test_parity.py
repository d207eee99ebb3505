"""Every architecture against Keras': each layer's output, the logits, and the gradients, with random weights."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf

from cnn_jax.config import ModelConfig
from cnn_jax.models.building import build, build_imagenet
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model
from tests.models.keras_reference import (
    PREPROCESSING,
    application,
    assert_close,
    assert_every_layer_equal,
    load,
    quiet_keras,
    randomise,
    sample_images,
    save_legacy,
)

PRETRAINED_FORMS = [
    ModelConfig("mobilenet", alpha=0.25, image_size=75),
    ModelConfig("vgg16", image_size=32),
    pytest.param(ModelConfig("vgg19", image_size=32), marks=pytest.mark.slow),
    ModelConfig("mobilenet_v2", alpha=0.35, image_size=75),
    pytest.param(ModelConfig("mobilenet_v2", alpha=1.3, image_size=32), marks=pytest.mark.slow),
]
"""Odd and even sizes at the strides (75, 38, 19, 10, 5, 3); the VGG at its smallest."""

COUNTS = [
    (ModelConfig("vgg16"), 138_357_544),
    (ModelConfig("vgg19"), 143_667_240),
    *((ModelConfig("mobilenet", alpha=a), n) for a, n in ((1.0, 4_253_864), (0.5, 1_342_536), (0.25, 475_544))),
    *((ModelConfig("mobilenet_v2", alpha=a), n) for a, n in ((0.35, 1_691_208), (1.0, 3_538_984), (1.4, 6_156_712))),
]
"""Parameters with batch statistics that Keras prints for the model with its top."""


def label(value) -> str | None:
    return f"{value.name}-{value.alpha}-{value.image_size}" if isinstance(value, ModelConfig) else None


def count(model: Model) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(model.shapes))


@pytest.mark.sample(1)
@pytest.mark.parametrize("config", PRETRAINED_FORMS, ids=label)
def test_with_random_weights_in_every_layout_every_layer_equals_keras(config, tmp_path):
    reference = application(config, top=True)
    randomise(reference, np.random.default_rng(0))
    save_legacy(reference, tmp_path / "legacy.h5")
    with quiet_keras():
        reference.save(tmp_path / "model.keras")
        reference.save_weights(tmp_path / "model.weights.h5")
    model = build_imagenet(config)
    variables = load(model, tmp_path / "legacy.h5")[0]
    assert_every_layer_equal(model, variables, reference, config)
    for layout in ("model.keras", "model.weights.h5"):
        jax.tree.map(np.testing.assert_array_equal, load(model, tmp_path / layout)[0], variables)


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "config", "top"),
    [
        ("mobilenet_2_5_224_tf_no_top.h5", ModelConfig("mobilenet", alpha=0.25), False),
        ("mobilenet_7_5_224_tf.h5", ModelConfig("mobilenet", alpha=0.75), True),
    ],
)
def test_with_the_published_weights_every_layer_equals_keras(real_weights, file, config, top):
    reference = application(config, top=top, weights=real_weights / file)
    model = build_imagenet(config)
    if not top:
        names = [layer.name for layer in reference.layers]
        model = model.part(0, sum(layer.name in names for layer in model.layers))
    assert_every_layer_equal(model, load(model, real_weights / file)[0], reference, config)


@pytest.mark.parametrize("config", [ModelConfig("mobilenet", alpha=0.25, image_size=75)], ids=label)
def test_the_random_weights_reach_both_bends_of_relu6_in_every_layer(config):
    reference = application(config, top=False)
    randomise(reference, np.random.default_rng(0))
    outputs = {layer.name: layer.output for layer in reference.layers if layer.name.endswith("_bn")}
    images = PREPROCESSING[config.name](sample_images(config.image_size).astype(np.float32))
    for name, values in keras.Model(reference.input, outputs)(images, training=False).items():
        assert (np.asarray(values) < 0).any(), name
        assert (np.asarray(values) > 6).any(), name


@pytest.mark.sample(2)
@pytest.mark.parametrize(("config", "total"), COUNTS, ids=label)
def test_parameter_counts_as_pretrained_are_those_that_keras_prints(config, total):
    assert count(build_imagenet(config)) == total


@pytest.mark.parametrize(
    ("config", "classes", "total"),
    [
        (ModelConfig("mobilenet", alpha=1.0), 10, 3_239_114),
        (ModelConfig("vgg16", top="fc"), 2, 134_268_738),
        (ModelConfig("vgg16"), 2, 14_714_688 + 1_026),
        (ModelConfig("simple_cnn"), 2, 420_802),
    ],
    ids=label,
)
def test_parameter_counts_with_a_new_classifier(config, classes, total):
    assert count(build(config, classes)) == total


def test_only_the_8194_parameters_of_the_head_train_after_the_fully_connected_layers():
    model = build(ModelConfig("vgg16", top="fc"), 2)
    frozen = model.layers_before("head", "train.freeze_until")
    params = model.shapes["params"]
    assert sum(leaf.size for name in set(params) - set(frozen) for leaf in params[name].values()) == 8_194


@pytest.mark.sample(1)
@pytest.mark.parametrize("alpha", [0.33, 1.3])
@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2"])
def test_other_widths_round_the_channels_as_keras_does(name, alpha):
    config = ModelConfig(name, alpha=alpha, image_size=32)
    assert count(build_imagenet(config)) == application(config, top=True).count_params()


def varied_images(size: int, count: int) -> np.ndarray:
    """uint8[count, size, size, 3]: patches of different colours under noise.

    Noise alone averages out: deep layers would see the same in every image, and normalise rounding errors.
    """
    rng = np.random.default_rng(1)
    patches = np.kron(rng.uniform(40, 215, (count, 4, 4, 3)), np.ones((1, size // 4, size // 4, 1)))
    return (patches + rng.uniform(-40, 40, (count, size, size, 3))).astype(np.uint8)


def with_head(config: ModelConfig, classes: int) -> keras.Model:
    """Keras' body with pooling and a dense layer called head."""
    body = application(config, top=False)
    pooled = keras.layers.GlobalAveragePooling2D(name="global_pool")(body.output)
    return keras.Model(body.input, keras.layers.Dense(classes, name="head")(pooled))


def in_float64(config: ModelConfig, classes: int, weights: list[np.ndarray]) -> keras.Model:
    """The same, computing in float64."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        model = with_head(config, classes)
        model.set_weights(weights)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    return model


def fine_tuned(config: ModelConfig, classes: int, prepared: np.ndarray) -> keras.Model:
    """Keras' model, random, but in the state of a model in training, where float32 is precise enough to compare.

    Kernels keep the variance, and a batch norm's bias of 3 puts the activations between the bends of ReLU6, but for one
    in several hundred: with most units at a bend, a rounding error decides whether the gradient passes, and gradients
    become small differences of large sums, of which float32 keeps few digits in either framework (5e-2 was seen in
    Keras). Moving statistics are those of the inputs, and the logits about 1, for the same reason.
    """
    rng = np.random.default_rng(0)
    reference = with_head(config, classes)
    head = reference.get_layer("head")
    randomise(reference, rng)
    norms = [layer for layer in reference.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        gamma, beta, *moving = layer.get_weights()
        layer.set_weights([rng.uniform(0.9, 1.1, gamma.shape), rng.uniform(2.8, 3.2, beta.shape), *moving])
        layer.momentum = 0.0
    for layer in reference.layers if norms else []:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            kernel = layer.get_weights()[0]
            inputs = np.prod(kernel.shape[: 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else 3])
            layer.set_weights([rng.normal(0, inputs**-0.5, kernel.shape)])
    kernel, bias = head.get_weights()
    head.set_weights([kernel / np.abs(reference(prepared, training=True)).max(), bias])
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return reference


def keras_gradients(reference: keras.Model, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Gradient of the mean cross entropy in training mode, {layer/weight: array}."""
    with tf.GradientTape() as tape:
        logits = reference(images, training=True)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    variables = [(layer, w) for layer in reference.layers for w in layer.trainable_weights]
    gradients = tape.gradient(loss, [w.value for _, w in variables])
    return {f"{layer.name}/{w.name}": np.asarray(g) for (layer, w), g in zip(variables, gradients, strict=True)}


def gradients(
    model: Model, variables: Variables, images: jax.Array, labels: jax.Array
) -> tuple[Variables, dict[str, dict[str, jax.Array]]]:
    """The same of this package, and the new batch statistics."""

    def loss(params):
        logits, stats = model.train_logits({**variables, "params": params}, images, jax.random.key(0), ())
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), stats

    return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])


@pytest.mark.long
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(ModelConfig("vgg19", image_size=32, dropout=0.0), marks=pytest.mark.slow),
        ModelConfig("mobilenet", alpha=0.25, image_size=64, dropout=0.0),
        pytest.param(ModelConfig("mobilenet_v2", alpha=0.35, image_size=64, dropout=0.0), marks=pytest.mark.slow),
    ],
    ids=label,
)
def test_gradients_and_new_statistics_equal_keras_in_training(config, tmp_path):
    images = varied_images(config.image_size, 8)
    labels = np.arange(8) % 3
    prepared = PREPROCESSING[config.name](images.astype(np.float32))
    reference = fine_tuned(config, 3, prepared)
    with quiet_keras():
        reference.save(tmp_path / "model.keras")
    model = build(config, 3)
    variables, transferred = load(model, tmp_path / "model.keras")
    assert not transferred.initialised
    weights = reference.get_weights()
    float32 = keras_gradients(reference, prepared, labels)
    truth = keras_gradients(
        in_float64(config, 3, weights), PREPROCESSING[config.name](images.astype(np.float64)), labels
    )
    found, stats = gradients(model, variables, jnp.asarray(images), jnp.asarray(labels))
    assert sum(len(leaves) for leaves in found.values()) == len(truth)
    largest = max(np.abs(gradient).max() for gradient in truth.values())
    for layer, leaves in found.items():
        for leaf, gradient in leaves.items():
            weight = {"scale": "gamma", "bias": "beta" if "scale" in leaves else "bias"}.get(leaf, leaf)
            expected, in_keras = truth[f"{layer}/{weight}"], float32[f"{layer}/{weight}"]
            scale = np.abs(expected).max()
            if scale < 1e-10 * largest:  # an offset that the next batch normalisation takes away again
                scale = 1e-4 * largest
            for reference_gradient in (expected, in_keras):
                error = np.abs(np.reshape(gradient, expected.shape) - reference_gradient).max() / scale
                assert error < 1e-3, f"{layer}/{weight}: {error:.1e}"
    for layer, leaves in stats.items():
        _, _, mean, var = reference.get_layer(layer).get_weights()
        assert_close(leaves["mean"], mean, layer)
        assert_close(leaves["var"], var, layer)
