"""An accelerator against the CPU of the same machine, and the promises that hold on both (`make test-gpu`).

On a machine without one, the CPU stands in for it: that the tests run is what is tested then.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax import evaluate, verify_weights
from cnn_jax.config import AugmentConfig
from cnn_jax.training.run.checkpoints import Checkpoints
from cnn_jax.training.state import TrainState
from tests.accelerator import cases
from tests.training.helpers import SMALL_CNN, SMALL_FROZEN, assert_identical, final_state, train, train_until, with_

pytestmark = [pytest.mark.accelerator, pytest.mark.long]

LABELS = np.arange(cases.BATCH, dtype=np.int32) % 5


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Names, what this process' platform computes, and what the CPU does in a process of its own."""
    path = tmp_path_factory.mktemp("cpu") / "cpu.npz"
    alone = jax.default_backend() == "cpu"
    command = [sys.executable, "-m", "tests.accelerator.cases", str(path), *(["alone"] if alone else [])]
    subprocess.run(command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, check=True)
    with np.load(path) as of_cpu:
        return [(name, here, of_cpu[name]) for name, here in cases.results(alone)]


def test_float32_is_float32_forwards_and_in_training(both: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    for name, here, of_cpu in both:
        if name.startswith("logits"):
            np.testing.assert_allclose(here, of_cpu, rtol=0, atol=1e-4 * np.abs(of_cpu).max(), err_msg=name)
        if name.startswith("steps"):
            np.testing.assert_allclose(here, of_cpu, rtol=1e-3, err_msg=name)


def test_images_are_changed_alike(both: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    (found,) = [(here, of_cpu) for name, here, of_cpu in both if name == "augmented"]
    assert np.abs(found[0].astype(int) - found[1]).max() <= 1
    assert (found[0] != cases.images()).any()


def test_a_checkpoint_goes_on_bit_by_bit_and_what_is_frozen_stays(tmp_path: Path) -> None:
    state, freezing, step = cases.start("mobilenet", "conv_pw_10")
    before = freezing.digest(state.variables)
    state, _ = step(state, cases.images(), LABELS)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state.checkpoint(freezing), {}, None)
        checkpoints.wait()
        restored = TrainState.from_checkpoint(checkpoints.restore(1, state.checkpoint(freezing)), freezing)
    ended = [jax.tree.map(np.asarray, step(one, cases.images(), LABELS)) for one in (state, restored)]
    for one, other in zip(*map(jax.tree.leaves, ended), strict=True):
        np.testing.assert_array_equal(one, other)
    assert freezing.digest(ended[0][0].variables) == before


@pytest.mark.parametrize("on", ["host", "device"])
def test_a_stopped_run_ends_as_one_that_was_not(on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    augment = AugmentConfig(horizontal_flip=True, brightness=(0.8, 1.2), on=on)
    config = with_(SMALL_CNN, data={"augment": augment}, train={"epochs": 2})
    train(config, tmp_path / "whole")
    train_until(7, config, tmp_path / "stopped", monkeypatch)
    train(config, tmp_path / "stopped")
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "stopped"))


def test_a_run_on_kept_features_is_evaluated_as_it_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = train(SMALL_FROZEN, tmp_path / "run").result
    assert result["frozen_unchanged"] is True
    assert evaluate.main([f"--checkpoint={tmp_path / 'run'}", "--recompute", "--report=False"]) == 0
    assert f"{result['best']['accuracy']:.3f}" in capsys.readouterr().out


def test_a_real_file_gives_the_outputs_that_it_gives_in_keras(
    real_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorflow", reason="needs TensorFlow, to run Keras")
    weights = real_weights / "mobilenet_7_5_224_tf.h5"
    assert verify_weights.main([f"--model.weights={weights}", "--model.alpha=0.75"]) == 0, capsys.readouterr().out
