"""Head first, then the rest; and every option at once, stopped at any step and gone on bit-exactly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.config import AugmentConfig, CheckpointConfig, OptimizerConfig
from cnn_jax.training import trained_run
from cnn_jax.training.freezing import count
from cnn_jax.training.setup import set_up
from tests.training.helpers import (
    SMALL_CNN,
    SMALL_FROZEN,
    assert_identical,
    final_state,
    metrics,
    train,
    train_until,
    with_,
)

HEAD_FIRST = with_(SMALL_CNN, train={"epochs": 3, "head_epochs": 1})

EVERYTHING = replace(
    with_(
        SMALL_FROZEN,
        data={"steps_per_epoch": 5, "augment": AugmentConfig(rotation=10), "split": (0.1, 0.05, 0.85)},
        train={
            "epochs": 4,
            "head_epochs": 1,
            "feature_cache": "on",
            "feature_views": 2,
            "frozen": ("bn4/.*",),
            "ema_decay": 0.9,
            "label_smoothing": 0.1,
            "class_weights": "balanced",
            "early_stopping_epochs": 3,
        },
    ),
    optimizer=OptimizerConfig(
        "adamw",
        1e-3,
        schedule="cosine",
        warmup_epochs=0.5,
        clip_norm=1.0,
        head_learning_rate_multiplier=3.0,
        layer_decay=0.9,
        microbatches=2,
    ),
    checkpoint=CheckpointConfig(every_epochs=2, every_steps=3, keep=1),
)


@pytest.mark.long
def test_the_head_trains_alone_first_and_the_optimizer_begins_anew(tmp_path: Path) -> None:
    config = with_(HEAD_FIRST, train={"epochs": 1})
    train(config, tmp_path / "run")
    before, after = set_up(config, tmp_path / "run" / "split.json"), trained_run.load(tmp_path / "run")
    for layer, leaves in before.variables["params"].items():
        for leaf, value in leaves.items():
            moved = (np.asarray(value) != np.asarray(after.variables["params"][layer][leaf])).any()
            assert moved == (layer == "head"), f"{layer}/{leaf}"
    first, second = set_up(HEAD_FIRST, None).phases
    assert (first.first_epoch, first.last_epoch) == (1, 1)
    assert (second.first_epoch, second.last_epoch) == (2, 3)
    job = set_up(HEAD_FIRST, None)
    state = job.initial_state()
    entered = state.enter(second.optimizer, second.freezing, second.schedule)
    everything = count(job.variables["params"])
    assert count(entered.opt_state) >= 2 * everything > count(state.opt_state)


@pytest.mark.long
def test_both_phases_are_in_the_log_and_the_proof_covers_both(tmp_path: Path) -> None:
    result = train(HEAD_FIRST, tmp_path / "run").result
    assert [line["epoch"] for line in metrics(tmp_path / "run", "validation")] == [1, 2, 3]
    assert result["status"] == "completed"
    assert result["frozen_unchanged"] is True
    assert result["parameters"]["frozen"] == 0


@pytest.mark.long
@pytest.mark.parametrize("last_step", [5, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 18))])
def test_every_option_at_once_goes_on_bit_exactly(
    last_step: int, everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train_until(last_step, EVERYTHING, tmp_path / "stopped", monkeypatch).result["steps"] == last_step
    train(EVERYTHING, tmp_path / "stopped")
    assert_identical(final_state(EVERYTHING, everything), final_state(EVERYTHING, tmp_path / "stopped"))
    assert metrics(everything) == metrics(tmp_path / "stopped")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("everything") / "run"
    result = train(EVERYTHING, workdir).result
    assert result["frozen_unchanged"] is True
    assert len(metrics(workdir)) == 8
    return workdir


@pytest.mark.long
def test_the_running_mean_is_what_is_evaluated(everything: Path) -> None:
    """The checkpoint's variables differ from the parameters that train, and only where those move."""
    state = final_state(EVERYTHING, everything)
    moving = {path: value for path, value in state.items() if path.startswith("['training']['moving']")}
    assert moving
    for path, value in moving.items():
        averaged = state[path.replace("['training']['moving']", "['variables']")]
        assert value.shape == averaged.shape
    assert any(
        (value != state[path.replace("['training']['moving']", "['variables']")]).any()
        for path, value in moving.items()
    )
    assert not any("conv2'" in path or "bn4'" in path for path in moving)
