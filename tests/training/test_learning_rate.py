"""The range test: what it suggests, what it writes, and that it leaves nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.training.learning_rate import find_learning_rate, smooth, suggest
from cnn_jax.training.run.logs import Reporter
from tests.training.helpers import SMALL_CNN, SMALL_FROZEN, train, with_


def test_the_steepest_fall_is_suggested() -> None:
    rates = np.logspace(-7, 0, 100)
    losses = 2 - np.tanh((np.log10(rates) + 3) * 2)  # falls fastest at 1e-3
    losses[np.log10(rates) > -1] += 30
    assert suggest(list(rates), list(losses)) == pytest.approx(1e-3, rel=0.2)


def test_smoothing_keeps_a_constant_and_follows_pandas() -> None:
    np.testing.assert_allclose(smooth([3.0] * 5), 3.0)
    losses = list(np.random.default_rng(0).normal(size=20))
    weights = [0.9 ** np.arange(i, -1, -1) for i in range(20)]
    expected = [np.average(losses[: i + 1], weights=weights[i]) for i in range(20)]
    np.testing.assert_allclose(smooth(losses), expected)


@pytest.mark.long
def test_it_suggests_a_rate_that_trains_and_writes_a_picture(tmp_path: Path) -> None:
    found = find_learning_rate(SMALL_CNN, tmp_path / "test", Reporter())
    assert 1e-5 < found.suggestion < 0.3
    assert sorted(path.name for path in (tmp_path / "test").iterdir()) == ["learning_rate.json", "learning_rate.png"]
    assert json.loads((tmp_path / "test" / "learning_rate.json").read_text())["suggestion"] == found.suggestion
    assert (tmp_path / "test" / "learning_rate.png").read_bytes().startswith(b"\x89PNG")
    config = with_(SMALL_CNN, optimizer={"learning_rate": found.suggestion}, data={"steps_per_epoch": None})
    assert train(config, tmp_path / "run").result["best"]["accuracy"] > 0.6


@pytest.mark.long
def test_it_works_on_a_frozen_network(tmp_path: Path) -> None:
    found = find_learning_rate(SMALL_FROZEN, tmp_path / "test", Reporter())
    assert len(found.learning_rates) == len(found.losses) == len(found.smoothed) >= 10
