"""Runs with hidden layers before the classifier: cached features, resume, the next run, and Keras."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from cnn_jax import export
from cnn_jax.config import AugmentConfig, Config
from cnn_jax.errors import ConfigError
from cnn_jax.explaining.saliency import grad_cam
from cnn_jax.training import trained_run
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, train, train_until, with_

HIDDEN = with_(
    SMALL_CNN,
    model={"dense": (12, 8), "head_batch_norm": True},
    data={"augment": AugmentConfig()},
    train={"epochs": 2, "freeze_until": "head", "feature_cache": "on"},
)


@pytest.mark.long
def test_a_run_with_hidden_layers_goes_on_bit_for_bit_and_leaves_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = train(HIDDEN, whole).result
    assert result["frozen_unchanged"]
    assert result["parameters"]["trainable"] == 32 * 12 + 12 + 24 + 12 * 8 + 8 + 16 + 8 * 10 + 10
    assert "cached as the output of flatten (32 float32)" in capsys.readouterr().out
    train_until(8, HIDDEN, parts, monkeypatch)
    train(HIDDEN, parts)
    assert_identical(final_state(HIDDEN, whole), final_state(HIDDEN, parts))

    run = trained_run.load(whole)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    expected = np.asarray(run.model.probabilities(run.variables, images))
    assert export.main([f"--checkpoint={whole}", "--format=keras-h5", f"--output={tmp_path / 'model.h5'}"]) == 0
    in_keras = keras.models.load_model(tmp_path / "model.h5", compile=False)
    np.testing.assert_allclose(in_keras.predict(images, verbose=0), expected, rtol=0, atol=1e-6)
    assert grad_cam(run.model, run.variables, images, np.array([0, 1, 2])).shape == (3, 4, 4)

    capsys.readouterr()
    other = with_(HIDDEN, model={"weights": str(whole)}, data={"classes": ("3", "1", "2")}, train={"epochs": 1})
    train(other, tmp_path / "other")
    assert "new, as initialised: params/head/bias, params/head/kernel; left out" in capsys.readouterr().out
    file = with_(HIDDEN, model={"weights": str(tmp_path / "model.h5")}, train={"epochs": 1})
    train(file, tmp_path / "file")
    assert "classifier from its layer head" in capsys.readouterr().out


@pytest.mark.parametrize("field", ["name", "head_name"])
def test_a_solver_of_one_linear_layer_is_refused_for_hidden_ones(field: str) -> None:
    changes = {"optimizer": replace(HIDDEN.optimizer, **{field: "lbfgs"}), "train": replace(HIDDEN.train, epochs=1)}
    with pytest.raises(ConfigError, match=r"model\.dense=\(12, 8\) .*lbfgs, which solves one linear layer; .*=adam"):
        Config(model=HIDDEN.model, **changes)
