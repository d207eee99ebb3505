"""An architecture that the package does not have, added as docs/adding-a-model.md says."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.models.architectures import registry
from cnn_jax.models.architectures.registry import Architecture
from cnn_jax.models.building import build, build_imagenet
from cnn_jax.models.layers import Activation, Add, BatchNorm, Conv, Dense, GlobalAveragePool
from cnn_jax.models.model import Model
from tests.models.keras_reference import load, quiet_keras, sample_images


def body(config: ModelConfig) -> tuple:
    """A convolution and two residual blocks, in which the sum is rectified."""
    blocks = []
    source = "stem"
    for block in ("a", "b"):
        blocks += [
            Conv(4, use_bias=False, name=f"{block}_conv"),
            BatchNorm(name=f"{block}_bn"),
            Add(inputs=(source, f"{block}_bn"), name=f"{block}_add"),
            Activation("relu", name=f"{block}_out"),
        ]
        source = f"{block}_out"
    return Conv(4, strides=(2, 2), activation="relu", name="stem"), *blocks


def top(classes: int) -> tuple:
    return GlobalAveragePool(name="pool"), Dense(classes, name="predictions")


def in_keras(size: int) -> keras.Model:
    layers = keras.layers
    inputs = layers.Input((size, size, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="stem")(inputs)
    for block in ("a", "b"):
        y = layers.Conv2D(4, 3, padding="same", use_bias=False, name=f"{block}_conv")(x)
        y = layers.BatchNormalization(name=f"{block}_bn")(y)
        x = layers.ReLU(name=f"{block}_out")(layers.Add(name=f"{block}_add")([x, y]))
    pooled = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(1000, name="predictions")(pooled))
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, w.shape) - (0.4 if w.ndim > 1 else 0) for w in model.get_weights()])
    return model


@pytest.fixture
def config(monkeypatch) -> ModelConfig:
    """A configuration of the new model: its line replaces that of a name that the type of `name` allows."""
    monkeypatch.setitem(registry.ARCHITECTURES, "mobilenet", Architecture(body, "tf", top=top))
    return ModelConfig("mobilenet", image_size=8, dropout=0.0)


def index(model: Model, name: str) -> int:
    return [layer.name for layer in model.layers].index(name)


def test_it_loads_keras_weights_and_gives_keras_logits(config, tmp_path):
    reference = in_keras(8)
    with quiet_keras():
        reference.save(tmp_path / "new.keras")
    model = build_imagenet(config)
    variables, _ = load(model, tmp_path / "new.keras")
    images = sample_images(8)
    expected = np.asarray(reference(images / np.float32(127.5) - 1, training=False))
    np.testing.assert_allclose(model.logits(variables, jnp.asarray(images)), expected, rtol=1e-4, atol=1e-5)


def test_its_parts_give_what_the_whole_gives_at_every_legal_cut_and_no_other_is_made(config):
    model = build(config, 3)
    variables = model.init(0)
    images = jnp.asarray(sample_images(8))
    whole = model.logits(variables, images)
    legal = [i for i in range(len(model.layers) + 1) if model.cut_before(i) == i]
    names = ["none" if i == len(model.layers) else str(model.layers[i].name) for i in legal]
    assert names == ["stem", "a_conv", "a_out", "b_conv", "b_out", "global_pool", "dropout", "head", "none"]
    for cut in legal[1:-1]:
        features = model.part(0, cut).outputs(variables, images)
        np.testing.assert_allclose(model.part(cut).logits(variables, features), whole, rtol=1e-5, atol=1e-6)
    for inside in ("a_bn", "a_add", "b_bn", "b_add"):
        assert model.cut_before(index(model, inside)) == index(model, f"{inside[0]}_conv")
        with pytest.raises(ValueError, match=f"cannot be cut before {inside}"):
            model.part(index(model, inside))


def test_a_batch_norm_that_is_the_source_of_a_sum_is_added_before_its_rectifier():
    layers = (BatchNorm(name="bn"), Activation("relu", name="relu"), Add(inputs=("bn", "relu"), name="add"))
    model = Model(layers, 2, None)
    x = jnp.array([-4.0, 4.0, 0.0]).reshape(1, 1, 1, 3)
    variables = model.init(0)
    y = model.outputs(variables, x).ravel() * np.sqrt(1.001)
    np.testing.assert_allclose(y, [-4, 8, 0], rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("first", ["none", "a_bn", "b_out", "head"])
def test_any_of_its_layers_can_be_the_first_that_trains(config, first):
    model = build(config, 3)
    variables = model.init(0)
    frozen = model.layers_before(first, "train.freeze_until")
    images = jnp.asarray(sample_images(8))

    def loss(trainable):
        params = {**variables["params"], **trainable}
        logits, stats = model.train_logits({**variables, "params": params}, images, jax.random.key(1), frozen)
        return jnp.square(logits - 1).sum(), stats

    trainable = {name: leaves for name, leaves in variables["params"].items() if name not in frozen}
    gradients, stats = jax.grad(loss, has_aux=True)(trainable)
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(gradients))
    for name, leaves in stats.items():
        assert (np.asarray(leaves["mean"]) == np.asarray(variables["batch_stats"][name]["mean"])).all() == (
            name in frozen
        )
