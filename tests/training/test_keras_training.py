"""Training equals Keras': the same weights and the same batches give the same losses, step by step."""

import math
import warnings

import jax
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig, OptimizerConfig
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables, layer_names
from cnn_jax.models.head import HEAD
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.optimizer import make_optimizer
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.schedule import make_schedule
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import make_train_step

STEPS, BATCH, SIZE, CLASSES = 50, 16, 64, 4

LEAVES = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
"""Names of Keras' weights that are called otherwise here."""


def batches() -> tuple[np.ndarray, np.ndarray]:
    """uint8[steps, b, s, s, 3] and int32[steps, b]: coarse and fine noise in a colour that tells the class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, (STEPS, BATCH), dtype=np.int32)
    colours = np.array([[1, -1, 0], [-1, 1, 0], [0, -1, 1], [1, 1, -1]])
    coarse = rng.normal(0, 25, (STEPS, BATCH, 4, 4, 3)).repeat(SIZE // 4, axis=2).repeat(SIZE // 4, axis=3)
    images = 128 + 50 * colours[labels][:, :, None, None] + coarse + rng.normal(0, 15, coarse.shape)
    return images.clip(0, 255).astype(np.uint8), labels


def well_conditioned(model: Model) -> Variables:
    """Initial variables of a network with batch norms in which rounding errors do not grow from step to step.

    With the usual ones they do: relative changes of 3e-7 in the parameters of a MobileNet changed the losses of fifty
    steps by up to 40 %, within either framework, since most units lie at a bend of their rectifier. Here kernels keep
    the variance, and a batch norm's bias of 3 puts the activations about the middle of ReLU6, which then clips one in
    several hundred: the same changes alter the losses by 1e-5. The statistics are those of the first batch, so that
    frozen layers, which use them, pass something on.
    """
    rng = np.random.default_rng(1)
    variables = jax.tree.map(np.array, model.init(0))
    for layer, leaves in variables["params"].items():
        if "scale" in leaves:
            leaves["bias"][:] = 3
        elif layer != HEAD:
            shape = leaves["kernel"].shape
            leaves["kernel"][:] = rng.normal(0, math.prod(shape[:3]) ** -0.5, shape)
    images, before = batches()[0][0], variables["batch_stats"]
    after = jax.jit(lambda v: model.train_logits(v, images, jax.random.key(0), ())[1])(variables)
    statistics = jax.tree.map(lambda old, new: (np.asarray(new) - 0.99 * old) / 0.01, before, after)
    return {"params": variables["params"], "batch_stats": jax.tree.map(np.float32, statistics)}


def keras_model(config: ModelConfig) -> keras.Model:
    """The network with Keras' own layers, under the names of ours; logits of uint8 images as floats."""
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    if config.name == "mobilenet":
        with warnings.catch_warnings():  # sizes without pretrained weights
            warnings.simplefilter("ignore")
            x = keras.applications.MobileNet(
                input_tensor=x, input_shape=(SIZE, SIZE, 3), alpha=config.alpha, include_top=False, weights=None
            ).output
        x = keras.layers.GlobalAveragePooling2D()(x)
    else:
        for number, filters in enumerate(config.filters, start=1):
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{number}")(x)
            x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Flatten()(x)
    return keras.Model(images, keras.layers.Dense(CLASSES, name=HEAD)(x))


def copy_weights(variables: Variables, model: keras.Model) -> None:
    """By name; depthwise kernels are [kh, kw, 1, c] here and [kh, kw, c, 1] there."""
    left = {f"{layer}/{leaf}" for tree in variables.values() for layer, leaves in tree.items() for leaf in leaves}
    for layer in model.layers:
        for weight in layer.weights:
            leaf = LEAVES.get(weight.name, weight.name)
            tree = variables["batch_stats" if leaf in ("mean", "var") else "params"]
            value = np.asarray(tree[layer.name][leaf])
            weight.assign(value.swapaxes(2, 3) if isinstance(layer, keras.layers.DepthwiseConv2D) else value)
            left.remove(f"{layer.name}/{leaf}")
    assert left == set()


def our_losses(model: Model, variables: Variables, config: OptimizerConfig, until: str) -> np.ndarray:
    freezing = Freezing.until(model, until)
    order = {name: variables["params"].get(name, {}) for name in layer_names(model.layers)}
    optimizer, settings = make_optimizer(config, order), Settings.of(0, make_schedule(config, STEPS, STEPS))
    step = make_train_step(model, optimizer, freezing, Mesh.create())
    state, result = TrainState.create(jax.tree.map(jax.numpy.array, variables), optimizer, freezing, settings), []
    for images, labels in zip(*batches(), strict=True):
        state, report = step(state, images, labels)
        result.append(float(report["loss"]))
    return np.array(result)


def keras_losses(model: keras.Model, rate: float, until: str) -> np.ndarray:
    names = [layer.name for layer in model.layers]
    for layer in model.layers[: 0 if until == "none" else names.index(until)]:
        layer.trainable = False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate, epsilon=1e-7), loss, jit_compile=False)
    images_and_labels = zip(*batches(), strict=True)
    return np.array([float(model.train_on_batch(x.astype(np.float32), y)) for x, y in images_and_labels])


MOBILENET = ModelConfig(name="mobilenet", alpha=0.25, image_size=SIZE, weights="none", dropout=0.0)
SMALL_CNN = ModelConfig(name="simple_cnn", image_size=SIZE, filters=(8, 16), weights="none", dropout=0.0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("config", "until", "rate"),
    [
        (SMALL_CNN, "none", 1e-3),
        pytest.param(MOBILENET, "none", 3e-4, marks=pytest.mark.slow),
        pytest.param(MOBILENET, "conv_pw_10", 3e-4, marks=pytest.mark.slow),
    ],
    ids=["small CNN", "MobileNet", "MobileNet from conv_pw_10"],
)
def test_fifty_steps_of_adam_have_keras_losses(config: ModelConfig, until: str, rate: float) -> None:
    model = build(config, CLASSES)
    variables = well_conditioned(model) if config.name == "mobilenet" else model.init(0)
    reference = keras_model(config)
    copy_weights(variables, reference)
    expected = keras_losses(reference, rate, until)
    result = our_losses(model, variables, OptimizerConfig(name="adam", learning_rate=rate, epsilon=1e-7), until)
    assert expected[-10:].mean() < 0.5 * expected[:10].mean()
    np.testing.assert_allclose(result, expected, rtol=1e-3)
