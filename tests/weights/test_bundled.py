"""The weights that come with the package: their record, what Keras reads, and that they have learned to see."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cnn_jax.api.paths import resolve_paths
from cnn_jax.config import NAMED_WEIGHTS, Config, ModelConfig
from cnn_jax.config.experiments import load_experiment
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import UNSPLIT, Split, open_dataset
from cnn_jax.data.sources.made import open_digits
from cnn_jax.data.stream import evaluation_batches
from cnn_jax.errors import ConfigError
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables, depthwise_layers
from cnn_jax.models.model import Model
from cnn_jax.weights import catalog, pretrained, transfer
from cnn_jax.weights.locate import locate
from cnn_jax.weights.options import PretrainedConfig
from cnn_jax.weights.readers import keras_h5

CONFIG = ModelConfig(name="mobilenet", alpha=0.25, image_size=64, weights="shapes")


def _file() -> Path:
    path = locate(CONFIG)
    assert path is not None
    return path


def _network(weights: bool) -> tuple[Model, Variables]:
    """The network for ten classes, with the weights of the file or random ones."""
    model = build(CONFIG, 10)
    variables = model.init(0)
    if weights:
        roles = {"new_layers": model.new_layers, "replaced_layers": (), "source": "shapes"}
        leaves = keras_h5.read(_file())
        variables, _ = transfer.merge(variables, leaves, depthwise_layers=depthwise_layers(model.layers), **roles)
    return model, variables


def test_the_names_are_those_of_the_catalog_and_no_path() -> None:
    assert set(NAMED_WEIGHTS) == {"imagenet", "none", *catalog.BUNDLED}
    assert resolve_paths(Config(model=CONFIG)).model.weights == "shapes"


def test_the_record_is_that_of_the_file_and_of_the_experiment_that_made_it() -> None:
    record, content = catalog.BUNDLED["shapes"], _file().read_bytes()
    assert len(content) < 10**6
    assert hashlib.sha256(content).hexdigest() == record.sha256
    made = load_experiment("mobilenet_shapes")
    assert (made.model.name, made.model.alpha, made.model.image_size) == (record.model, record.alpha, record.image_size)
    assert made.model.weights == "none"
    assert made.data.dataset == "shapes"
    assert "--exp=mobilenet_shapes" in record.commands[0]
    assert "imagenet" in record.purpose


def test_another_width_or_architecture_is_told_what_the_weights_are_for() -> None:
    for model in (ModelConfig(alpha=0.5, weights="shapes"), ModelConfig("mobilenet_v2", 0.25, weights="shapes")):
        with pytest.raises(ConfigError, match=r"is for model\.name=mobilenet with model\.alpha=0\.25.*imagenet"):
            locate(model)


@pytest.mark.long
def test_keras_reads_the_file_and_sees_what_we_see() -> None:
    """As a model, and as weights of its own MobileNet without a top."""
    network = pretrained.load(PretrainedConfig(weights="shapes"), need_top=False)
    assert (network.config.alpha, network.config.image_size, network.has_top) == (0.25, 64, False)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    ours = np.asarray(jax.jit(network.model.outputs)(network.variables, images))
    application = keras.applications.MobileNet((64, 64, 3), 0.25, include_top=False, weights=None)
    application.load_weights(_file())
    assert application.count_params() == 218_544
    theirs = application.predict(images / 127.5 - 1, verbose=0)
    as_model = keras.models.load_model(_file(), compile=False).predict(images, verbose=0)
    assert ours.shape == (2, 2, 2, 256)
    assert theirs.max() > 0.1
    for reference in (theirs, as_model):
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-4 * max(1, theirs.max()))


def _accuracies(split: Split, weights: bool, layers: Sequence[str]) -> list[float]:
    """Of logistic regressions on frozen features, pooled and standardised, on the half that they have not seen."""
    model, variables = _network(weights)
    (batch,) = evaluation_batches(split, Resize(CONFIG.image_size), len(split))
    tapped = jax.jit(lambda v, images: model.activations(v, images, layers))(variables, batch["image"])
    order = np.random.default_rng(0).permutation(len(split))
    learned, unseen = np.array_split(order, 2)
    found = []
    for layer in layers:
        features = np.asarray(tapped[layer]).mean((1, 2))
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier.fit(features[learned], split.labels[learned])
        found.append(float(classifier.score(features[unseen], split.labels[unseen])))
    return found


@pytest.mark.long
def test_frozen_features_tell_shapes_apart_that_they_were_not_learned_from() -> None:
    config = load_experiment("mobilenet_shapes").data
    fresh = replace(config, shapes_examples=300, shapes_seed=config.shapes_seed + 1)
    assert _accuracies(open_dataset(fresh).splits[UNSPLIT], True, ["conv_pw_13_relu"])[0] > 0.9


@pytest.mark.long
@pytest.mark.optimized
def test_frozen_pretrained_features_beat_frozen_random_ones_by_a_wide_margin_on_digits() -> None:
    """Standardised, so that the tiny activations of a random network count as much.

    Measured: 0.88, 0.82 and 0.69 against 0.69, 0.57 and 0.51.
    """
    digits = open_digits().splits[UNSPLIT].take(range(0, 1797, 3))
    layers = ["conv_pw_7_relu", "conv_pw_9_relu", "conv_pw_13_relu"]
    for learned, random in zip(*(_accuracies(digits, weights, layers) for weights in (True, False)), strict=True):
        assert learned > random + 0.12
