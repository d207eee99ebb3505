"""The rate that falls on a plateau against Keras' ReduceLROnPlateau, and that a run goes on with it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import optax
import pytest

from cnn_jax.config import OptimizerConfig
from cnn_jax.training import plateau
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.run.progress import Progress
from cnn_jax.training.schedule import make_schedule
from cnn_jax.training.state import Settings, TrainState
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, metrics, train, train_until, with_
from tests.training.test_step import NOTHING


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("patience", "least"), [(1, 0.0), (3, 0.05)])
def test_the_rate_after_every_epoch_is_kerass(patience: int, least: float, seed: int) -> None:
    config = OptimizerConfig(
        learning_rate=0.1, schedule="plateau", plateau_epochs=patience, decay_factor=0.3, final_fraction=least
    )
    callback = keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=patience, min_lr=0.1 * least, verbose=0)
    callback.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=0.1)))
    callback.on_train_begin()
    settings = Settings.of(0, make_schedule(config, 100, 10))
    state = TrainState.create({"params": {}, "batch_stats": {}}, optax.identity(), NOTHING, settings)
    mesh, progress = Mesh.create(), Progress()
    rng = np.random.default_rng(seed)
    for epoch, fall in enumerate(rng.choice([0.0, 5e-5, 2e-4, 0.1, -0.1], 30)):
        before = 1.0 if progress.last is None else progress.last["loss"]
        loss = before - fall
        callback.on_epoch_end(epoch, {"val_loss": loss})
        state, progress = plateau.after_epoch(config, mesh, state, replace(progress, last={"loss": loss}))
        rate = float(state.settings.schedule(10 * epoch))
        assert rate == pytest.approx(float(callback.model.optimizer.learning_rate), rel=1e-6)
    assert rate < 0.1


@pytest.mark.long
def test_a_stopped_run_goes_on_with_its_rate_and_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    falling = {"schedule": "plateau", "plateau_epochs": 1, "decay_factor": 0.5, "learning_rate": 0.3}
    config = with_(SMALL_CNN, optimizer=falling, train={"epochs": 5})
    train(config, tmp_path / "whole")
    train_until(20, config, tmp_path / "stopped", monkeypatch)
    train(config, tmp_path / "stopped")
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "stopped"))
    rates = [line["learning_rate"] for line in metrics(tmp_path / "stopped", "train")]
    assert rates == [line["learning_rate"] for line in metrics(tmp_path / "whole", "train")]
    assert rates[-1] < rates[0]
