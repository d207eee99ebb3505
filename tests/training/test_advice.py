"""Advice where the numbers are plain, silence everywhere else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.api import fitting
from cnn_jax.config import AugmentConfig, Config, DataConfig, TrainConfig
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.report.advice import MOST_LINES, advice
from cnn_jax.runtime.clock import Clock
from cnn_jax.training.run.logs import Reporter
from tests.training.helpers import SMALL_CNN, with_

CONFIG = Config(train=TrainConfig(epochs=5))

QUICKSTART = (
    [1.1761, 0.2188, 0.0880, 0.0429, 0.0183, 0.0216, 0.0371, 0.0324, 0.0148, 0.0100],
    [1.2908, 0.3846, 0.4111, 0.2086, 0.1465, 0.1478, 0.1309, 0.1460, 0.1357, 0.1327],
)
"""Losses of `--exp=quickstart`, training and validation."""
PHOTOGRAPHS = [0.2503, 0.0437, 0.0205, 0.0112, 0.0103], [0.2428, 0.1790, 0.1092, 0.1005, 0.0950]
"""Of `--exp=mobilenet_ft` on cats and dogs, from conv_pw_10."""
TOO_SLOW = [1.0761, 1.0591, 1.0569, 1.0473, 1.0340], [1.1162, 1.1061, 1.0967, 1.0871, 1.0782]
"""The classifier alone, at a rate of 2e-6."""


def lines(train: list[float], validation: list[float]) -> list[dict[str, Any]]:
    return [
        {"split": split, "loss": loss}
        for pair in zip(train, validation, strict=True)
        for split, loss in zip(("train", "validation"), pair, strict=True)
    ]


def given(train: list[float], validation: list[float], config: Config = CONFIG) -> list[str]:
    return advice(config, lines(train, validation), None, ("cats", "dogs"))


@pytest.mark.parametrize("curves", [QUICKSTART, PHOTOGRAPHS], ids=["quickstart", "photographs"])
def test_runs_that_went_well_get_none(curves: tuple[list[float], list[float]]) -> None:
    assert given(*curves) == []


def test_a_loss_that_falls_steadily_to_the_end_wants_more_epochs_or_a_higher_rate() -> None:
    slow = [0.69, 0.67, 0.65, 0.63, 0.61]
    for curves in ((slow, slow), TOO_SLOW):
        (line,) = given(*curves)
        assert "--train.epochs=15" in line
        assert "--optimizer.learning_rate" in line
    assert given([*slow[:-1], 0.64], slow) == []  # training has ended to fall
    assert given(slow, [0.9, 0.7, 0.6, 0.55, 0.53]) == []  # levels
    assert given(slow[:3], slow[:3]) == []  # too short to tell
    assert given([0.690, 0.688, 0.686, 0.684], [0.690, 0.688, 0.686, 0.684]) == []  # perhaps noise
    assert given(slow, slow, replace(CONFIG, train=TrainConfig(epochs=5, head_epochs=2))) == []


def test_curves_that_have_parted_want_augmentation_or_an_earlier_stop() -> None:
    train, validation = [0.6, 0.4, 0.3, 0.2, 0.1, 0.05], [0.6, 0.5, 0.45, 0.5, 0.55, 0.6]
    (line,) = given(train, validation)
    assert line.startswith("since epoch 3 ")
    assert "--augment, or --train.early_stopping_epochs=3" in line
    augmented = replace(CONFIG, data=DataConfig(augment=AugmentConfig(horizontal_flip=True)))
    assert "--augment" not in given(train, validation, augmented)[0]
    assert given(train, [0.6, 0.5, 0.45, 0.5, 0.55, 0.46]) == []  # back again
    assert given([0.6, 0.4, 0.3, 0.29, 0.28, 0.27], validation) == []  # training stands still
    assert given(train[:5], validation[:5]) == []  # two epochs ago


def test_a_class_that_is_never_predicted_is_named() -> None:
    labels = np.repeat([0, 1, 2], [20, 12, 9]).astype(np.int32)
    logits = np.zeros((41, 3), np.float32)
    logits[:, 0] = 1
    (line,) = advice(CONFIG, [], Predictions(logits, labels), ("cats", "do\x1bgs", "birds"))
    assert "taken for do" in line
    assert "\x1b" not in line
    assert "birds" not in line  # nine images may be chance
    assert "--train.class_weights=balanced" in line
    logits[20, 1] = 2
    assert advice(CONFIG, [], Predictions(logits, labels), ("cats", "dogs", "birds")) == []


def test_there_are_two_lines_at_most() -> None:
    train, validation = [0.6, 0.4, 0.3, 0.2, 0.1, 0.05], [0.6, 0.5, 0.45, 0.5, 0.55, 0.6]
    labels = np.repeat([0, 1], 20).astype(np.int32)
    logits = np.eye(2, dtype=np.float32)[np.zeros(40, int)]
    found = advice(CONFIG, lines(train, validation), Predictions(logits, labels), ("cats", "dogs"))
    assert len(found) == MOST_LINES


@pytest.mark.long
def test_a_run_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(fitting, "advice", lambda *given: asked.extend(given) or ["do this"])
    config = with_(SMALL_CNN, train={"epochs": 1}, data={"steps_per_epoch": 2})
    fitting.fit_and_report(config, tmp_path / "run", Reporter(), Clock(), report=False)
    assert "advice     do this\n" in capsys.readouterr().out
    _, metrics, predictions, classes = asked
    assert [line["split"] for line in metrics] == ["train", "validation"]
    assert classes == tuple("0123456789")
    assert len(predictions.labels) == 359
