"""`model.channels=1`: images are made grey as Pillow does it; one channel for the own network, three for others."""

from pathlib import Path

import jax.numpy as jnp
import keras
import numpy as np
import pytest
from PIL import Image

from cnn_jax import explain, export, predict
from cnn_jax.config import AugmentConfig, ColourJitterConfig, Config, DataConfig, ModelConfig
from cnn_jax.data.preprocess import Resize
from cnn_jax.errors import ConfigError
from cnn_jax.models.building import build
from cnn_jax.training import trained_run
from cnn_jax.training.features.identity import identities
from cnn_jax.weights import keras_model
from tests.models.keras_reference import sample_images
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, train, train_until, with_


def pillows_grey(images: np.ndarray) -> np.ndarray:
    """uint8[b, s, s, 1]"""
    return np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])[..., None]


@pytest.mark.sample(1)
@pytest.mark.parametrize(("name", "channels"), [("simple_cnn", 1), ("mobilenet", 3)])
def test_the_own_network_takes_one_channel_and_a_pretrained_one_three_equal_ones(
    name: str, channels: int, tmp_path: Path
) -> None:
    images = sample_images(32)
    grey = pillows_grey(images)
    model = build(ModelConfig(name, alpha=0.25, image_size=32, weights="none", channels=1), 3)
    variables = model.init(0)
    assert variables["params"]["conv1"]["kernel"].shape[2] == channels
    found = model.probabilities(variables, jnp.asarray(images))
    equal = jnp.asarray(np.repeat(grey, 3, -1))
    np.testing.assert_array_equal(found, model.probabilities(variables, equal))
    keras_model.write(tmp_path / "model.h5", model, variables, "mine")
    in_keras = keras.models.load_model(tmp_path / "model.h5", compile=False)
    assert in_keras.input_shape == (None, 32, 32, 1)
    np.testing.assert_allclose(in_keras.predict(grey, verbose=0), found, rtol=0, atol=1e-6)


def test_what_is_kept_of_colours_is_not_taken_for_grey() -> None:
    colours, grey = (build(ModelConfig("mobilenet", 0.25, image_size=32, channels=c), 3) for c in (3, 1))
    variables = colours.init(0)
    assert not set(identities(colours, 4, variables, Resize(32))) & set(identities(grey, 4, variables, Resize(32)))


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_changes_of_colours_are_refused(name: str) -> None:
    data = DataConfig(augment=AugmentConfig(jitter=ColourJitterConfig(**{name: 0.1})))
    with pytest.raises(ConfigError, match=rf"jitter\.{name}=0\.1 .* 0 with model\.channels=1: grey images have no col"):
        Config(model=ModelConfig(channels=1), data=data)


@pytest.mark.long
def test_a_grey_run_is_resumed_predicts_explains_and_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_(SMALL_CNN, model={"channels": 1}, train={"epochs": 2})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, whole)
    assert "images are made grey: one channel" in capsys.readouterr().out
    train_until(8, config, parts, monkeypatch)
    train(config, parts)
    assert_identical(final_state(config, whole), final_state(config, parts))
    photograph = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    assert predict.main([f"{tmp_path}/photo.png", f"--checkpoint={whole}"]) == 0
    assert explain.main([f"{tmp_path}/photo.png", f"--checkpoint={whole}", f"--output={tmp_path}/page"]) == 0
    capsys.readouterr()
    assert export.main([f"--checkpoint={whole}", "--format=keras-h5", f"--output={tmp_path}/model.h5"]) == 0
    assert "Keras' files: grey images [b, 8, 8, 1]" in capsys.readouterr().out
    run = trained_run.load(whole)
    expected = run.model.probabilities(run.variables, photograph[None])
    found = keras.models.load_model(tmp_path / "model.h5", compile=False)(pillows_grey(photograph[None]))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
