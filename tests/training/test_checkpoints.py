"""Checkpoints: what is kept, what is refused."""

import gc
import inspect
import shutil
from dataclasses import replace
from pathlib import Path
from types import CoroutineType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import RunError
from cnn_jax.models.building import build
from cnn_jax.training import trained_run
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.run.checkpoints import Checkpoints
from cnn_jax.training.state import Settings, TrainState
from tests.training.helpers import SMALL_CNN, train, with_

META = {"classes": ["a", "b"]}
NOTHING = Freezing(frozenset())


def _saved(state: TrainState, step: int) -> dict[str, Any]:
    return replace(state, step=jnp.asarray(step, jnp.int32)).checkpoint(NOTHING)


@pytest.fixture(scope="module")
def state() -> TrainState:
    model = build(ModelConfig(name="simple_cnn", weights="none", image_size=8, filters=(4,)), 3)
    return TrainState.create(jax.tree.map(jnp.asarray, model.init(0)), optax.adam(1e-3), NOTHING, Settings.of(0))


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def test_the_newest_two_and_the_best_are_kept_even_when_the_best_is_old(state: TrainState, tmp_path: Path) -> None:
    accuracies = [0.5, 0.9, 0.6, 0.7, 0.8, 0.3]
    with Checkpoints(tmp_path) as checkpoints:
        for step, accuracy in enumerate(accuracies, start=1):
            checkpoints.save(step, _saved(state, step), META, {"accuracy": accuracy, "loss": 1.0})
        assert (checkpoints.latest(), checkpoints.best()) == (6, 2)
    assert _steps(tmp_path) == [2, 5, 6]
    with Checkpoints(tmp_path) as reopened:
        assert (reopened.latest(), reopened.best()) == (6, 2)


def test_arrays_that_are_not_what_was_saved_are_noticed(state: TrainState, tmp_path: Path) -> None:
    """Files of the same form with other numbers: what a flipped bit, or a mix of two folders, leaves behind."""
    other = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), state)
    for folder, saved in (("ours", _saved(state, 1)), ("other", _saved(other, 1))):
        with Checkpoints(tmp_path / folder) as checkpoints:
            checkpoints.save(1, saved, META, None)
    shutil.rmtree(tmp_path / "ours" / "1" / "training")
    shutil.copytree(tmp_path / "other" / "1" / "training", tmp_path / "ours" / "1" / "training")
    with Checkpoints(tmp_path / "ours") as checkpoints:
        with pytest.raises(RunError, match="1 cannot be read: training are not what was saved"):
            checkpoints.restore(1, state.checkpoint(NOTHING))
        kept = checkpoints.restore_variables(1, state.variables)
    jax.tree.map(np.testing.assert_array_equal, kept, state.variables)


@pytest.mark.long
def test_reading_a_run_leaves_a_checkpoint_that_is_being_written_alone(tmp_path: Path) -> None:
    train(with_(SMALL_CNN, train={"epochs": 1}, data={"steps_per_epoch": 1}), tmp_path)
    unfinished = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-1"
    shutil.copytree(tmp_path / "checkpoints" / "1", unfinished)
    assert trained_run.load(tmp_path).step == 1
    assert unfinished.is_dir()


def test_of_equal_accuracies_the_lower_loss_is_best(state: TrainState, tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        for step, loss in enumerate([0.3, 0.1, 0.2], start=1):
            checkpoints.save(step, _saved(state, step), META, {"accuracy": 0.5, "loss": loss})
        assert checkpoints.best() == 2


def test_a_checkpoint_in_the_middle_of_an_epoch_is_never_the_best_but_the_newest(
    state: TrainState, tmp_path: Path
) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _saved(state, 1), META, {"accuracy": 0.5, "loss": 1.0})
        checkpoints.save(2, _saved(state, 2), META, None)
        assert (checkpoints.latest(), checkpoints.best()) == (2, 1)


def test_restore_gives_back_every_bit(state: TrainState, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    odd = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, _saved(odd, 7), {"classes": ["ä", "b"]}, None)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(7, state.checkpoint(NOTHING))
        assert checkpoints.meta(7) == {"classes": ["ä", "b"]}
    for before, after in zip(jax.tree.leaves(_saved(odd, 7)), jax.tree.leaves(restored), strict=True):
        np.testing.assert_array_equal(np.asarray(before), np.asarray(after))


def test_a_state_of_another_shape_is_refused_and_leaves_no_coroutines_behind(state: TrainState, tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _saved(state, 1), META, None)
        model = build(ModelConfig(name="simple_cnn", weights="none", image_size=8, filters=(5,)), 3)
        other = TrainState.create(jax.tree.map(jnp.asarray, model.init(0)), optax.adam(1e-3), NOTHING, Settings.of(0))
        with pytest.raises(RunError, match=r"cannot be read: .*bias is \[4\] there, and \[5\] is asked for"):
            checkpoints.restore(1, other.checkpoint(NOTHING))
        gc.collect()  # what is left behind would warn here


# TensorStore's threads, whose other reads fail a moment later, tell a loop that Orbax has closed
@pytest.mark.filterwarnings("ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", ["cut", "structure"])
def test_reading_that_fails_in_the_middle_leaves_no_coroutines_behind(
    fault: str, state: TrainState, tmp_path: Path
) -> None:
    saved = _saved(state, 1)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, saved, META, None)
        checkpoints.wait()
        for path in tmp_path.glob("1/**/d/*") if fault == "cut" else ():
            path.write_bytes(path.read_bytes()[:20])
        asked = saved if fault == "cut" else {**saved, "training": {**saved["training"], "more": jnp.zeros(3)}}
        with pytest.raises(RunError, match="cannot be read"):
            checkpoints.restore(1, asked)
    unfinished = [
        found.__qualname__
        for found in gc.get_objects()
        if isinstance(found, CoroutineType) and "orbax" in found.cr_code.co_filename
        if inspect.getcoroutinestate(found) in (inspect.CORO_CREATED, inspect.CORO_SUSPENDED)
    ]
    assert unfinished == []
    gc.collect()  # what is left behind would warn here


def test_half_written_checkpoints_are_ignored(state: TrainState, tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _saved(state, 1), META, None)
    (tmp_path / "2.orbax-checkpoint-tmp-1").mkdir()
    (tmp_path / "2.orbax-checkpoint-tmp-1" / "variables").write_text("half")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1


@pytest.mark.long
def test_a_damaged_checkpoint_is_one_error_that_names_it(tmp_path: Path) -> None:
    train(SMALL_CNN, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints" / "18" / "variables").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RunError, match=r"checkpoints/18 cannot be read: .*; other checkpoints there: 12") as caught:
        trained_run.load(tmp_path / "run" / "checkpoints" / "18")
    assert len(str(caught.value)) < 700
    (tmp_path / "run" / "checkpoints" / "18" / "metrics" / "metrics").write_bytes(b"")
    with pytest.raises(RunError, match=r"the record of the accuracy is damaged in 18"):
        trained_run.load(tmp_path / "run")


def test_paths_that_are_no_run_say_what_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such directory"):
        trained_run.load(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="neither a run directory"):
        trained_run.load(tmp_path / "folder")
    (tmp_path / "folder" / "checkpoints").mkdir()
    with pytest.raises(RunError, match="has no checkpoint"):
        trained_run.load(tmp_path / "folder")
