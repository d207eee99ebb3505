"""The new head of every architecture is Keras' Dense, BatchNormalization, Dropout and Dense."""

from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables, layer_names
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing
from cnn_jax.weights import keras_arrays, keras_description
from tests.models.keras_networks import SIZE, own_cnn, randomise, saved
from tests.models.keras_reference import quiet_keras, sample_images

HEAD = {"dense": (12, 8), "head_batch_norm": True, "dropout": 0.3}
ADDED = ["dense1", "dense1_bn", "dense1_dropout", "dense2", "dense2_bn", "dropout", "head"]
BODIES = {
    "mobilenet": ModelConfig("mobilenet", alpha=0.25, image_size=SIZE, **HEAD),
    "mobilenet_v2": ModelConfig("mobilenet_v2", alpha=0.35, image_size=SIZE, top="flatten", **HEAD),
    "vgg16": ModelConfig("vgg16", image_size=SIZE, **HEAD),
    "simple_cnn": ModelConfig("simple_cnn", image_size=SIZE, filters=(4, 8), **HEAD),
}


def head_in_keras(inputs: int, model: Model, variables: Variables, names: list[str]) -> keras.Model:
    """The same head as a tutorial writes it, with the weights of the layers of these names."""
    layers = keras.layers
    with quiet_keras():
        network = keras.Sequential([layers.Input((inputs,))])
        for width in HEAD["dense"]:
            network.add(layers.Dense(width, activation="relu"))
            network.add(layers.BatchNormalization())
            network.add(layers.Dropout(HEAD["dropout"]))
        network.add(layers.Dense(model.classes))
    params, statistics = variables["params"], variables["batch_stats"]
    weights: list[np.ndarray] = []
    for name in names:
        leaves = {**params[name], **statistics.get(name, {})}
        order = ("scale", "bias", "mean", "var") if "mean" in leaves else ("kernel", "bias")
        weights += [leaves[leaf] for leaf in order]
    network.set_weights(weights)
    return network


def drawn(model: Model) -> Variables:
    """Random values for everything, variances above zero."""
    rng = np.random.default_rng(0)
    return jax.tree.map_with_path(
        lambda path, leaf: leaf if path[-1].key == "kernel" else rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32),
        model.init(0),
    )


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "name", ["simple_cnn", "mobilenet", pytest.param("mobilenet_v2", marks=pytest.mark.slow), "vgg16"]
)
def test_hidden_layers_of_every_architecture_give_what_those_of_keras_give(name: str) -> None:
    model = build(BODIES[name], 3)
    names = layer_names(model.layers)
    assert names[-7:] == ADDED
    assert model.new_layers == tuple(layer for layer in ADDED if "dropout" not in layer)
    variables, images = drawn(model), jnp.asarray(sample_images(SIZE))
    features = np.asarray(model.activations(variables, images, [names[-8]])[names[-8]])
    network = head_in_keras(features.shape[-1], model, variables, list(model.new_layers))
    expected = np.asarray(network(features, training=False))
    np.testing.assert_allclose(model.logits(variables, images), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_in_training_batch_statistics_move_as_in_keras() -> None:
    config = ModelConfig("simple_cnn", image_size=8, filters=(4,), dense=(12, 8), head_batch_norm=True, dropout=0.0)
    model = build(config, 3)
    variables, images = drawn(model), jnp.asarray(sample_images(8, 6))
    features = np.asarray(model.activations(variables, images, ["flatten"])["flatten"])
    network = head_in_keras(features.shape[-1], model, variables, list(model.new_layers))
    for layer in network.layers:
        layer.rate = 0.0  # of the dropouts
    expected = np.asarray(network(features, training=True))
    logits, statistics = model.train_logits(variables, images, jax.random.key(0), ())
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    moved = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for name, layer in zip(("dense1_bn", "dense2_bn"), moved, strict=True):
        np.testing.assert_allclose(statistics[name]["mean"], layer.moving_mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(statistics[name]["var"], layer.moving_variance, rtol=1e-5, atol=1e-6)


def test_a_keras_file_gets_the_same_head_in_the_place_of_its_classifier(tmp_path: Path) -> None:
    reference = randomise(own_cnn())
    path = saved(reference, tmp_path / "mine.keras")
    config = ModelConfig("keras", weights=str(path), image_size=SIZE, normalisation="unit", **HEAD)
    model = build(config, 3, description=keras_description.of(config, path))
    assert layer_names(model.layers)[-7:] == ADDED
    variables = drawn(model)
    loaded = keras_arrays.read(path, keras_description.network(path).headed(config, 3))
    variables["params"] |= {name: leaves for name, leaves in loaded["params"].items() if name not in model.new_layers}
    images = sample_images(SIZE)
    features = keras.Model(reference.inputs[0], reference.layers[-2].output)(images / np.float32(255), training=False)
    network = head_in_keras(features.shape[-1], model, variables, list(model.new_layers))
    expected = np.asarray(network(features, training=False))
    found = model.logits(variables, jnp.asarray(images))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_a_keras_files_own_dropout_stays_unless_another_is_given(tmp_path: Path) -> None:
    with quiet_keras():
        network = keras.Sequential(
            [
                keras.layers.Input((8, 8, 3)),
                keras.layers.Flatten(),
                keras.layers.Dense(5, "relu", name="dense1"),
                keras.layers.Dropout(0.4, name="dropout"),
                keras.layers.Dense(2, "softmax", name="top"),
            ]
        )
    path = saved(network, tmp_path / "mine.keras")

    def names(**head: object) -> list[str]:
        config = ModelConfig("keras", weights="mine.keras", **head)  # type: ignore[arg-type]
        return layer_names(keras_description.network(path).headed(config, 2).layers)[2:]

    assert names() == ["dropout", "head"]
    assert names(dropout=0.2) == ["dropout", "head"]
    assert names(dense=(7,)) == ["dropout", "dense2", "head"]
    assert names(dense=(7,), dropout=0.2) == ["dense2", "dropout", "head"]
    with pytest.raises(ConfigError, match=r"model\.top=flatten is for files without a classifier"):
        names(top="flatten")


def test_freezing_until_the_head_trains_all_of_it_and_keeps_what_comes_before() -> None:
    model = build(BODIES["simple_cnn"], 3)
    freezing = Freezing.until(model, "head")
    assert set(freezing.split(model.shapes["params"])[0]) == set(model.new_layers)
    assert model.layers[freezing.prefix(model) - 1].name == "flatten"
    assert set(Freezing.until(model, "dense2").split(model.shapes["params"])[0]) == {"dense2", "dense2_bn", "head"}
