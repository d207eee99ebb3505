"""Small runs for the tests of training."""

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.config import (
    AugmentConfig,
    ColourJitterConfig,
    Config,
    DataConfig,
    ErasingConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from cnn_jax.config.serialization import to_json
from cnn_jax.training.epochs import Epochs
from cnn_jax.training.loop import Outcome, fit
from cnn_jax.training.run.checkpoints import Checkpoints
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.setup import set_up
from cnn_jax.training.state import TrainState

SMALL_CNN = Config(
    name="small",
    model=ModelConfig(name="simple_cnn", weights="none", image_size=8, filters=(4, 8), dropout=0.2),
    data=DataConfig(
        dataset="digits",
        batch_size=16,
        steps_per_epoch=6,
        augment=AugmentConfig(
            rotation=10, width_shift=0.1, jitter=ColourJitterConfig(brightness=0.1), erasing=ErasingConfig(0.1)
        ),
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, clip_norm=1.0),
    train=TrainConfig(epochs=3, tensorboard=False),
)
"""A small network on digits, with everything random switched on."""

SMALL_FROZEN = replace(
    SMALL_CNN,
    model=replace(SMALL_CNN.model, image_size=32, filters=(4, 8, 8, 16), batch_norm=True),
    train=TrainConfig(epochs=2, freeze_until="conv3", tensorboard=False),
)
"""A network with a frozen part and batch norm; a MobileNet would spend the time of the tests in the compiler."""


def with_(config: Config, **sections: dict[str, Any]) -> Config:
    """The configuration with some fields of some sections changed."""
    return replace(config, **{name: replace(getattr(config, name), **fields) for name, fields in sections.items()})


def train(config: Config, workdir: Path) -> Outcome:
    return fit(config, workdir, Reporter())


def command(config: Config, workdir: Path) -> list[str]:
    """The command that trains in a process of its own, without a report; the experiment lies beside `workdir`."""
    return [sys.executable, "-m", "cnn_jax.train", *flags(config, workdir), "--report=False"]


def flags(config: Config, workdir: Path) -> list[str]:
    """What the command `train` is to be given, with a report at the end."""
    experiment = workdir.with_suffix(".py")
    experiment.write_text(
        "from cnn_jax.config.serialization import from_json\n\n"
        f"config = from_json({to_json(config)!r}, 'the experiment')\n"
    )
    return [f"--exp={experiment}", f"--workdir={workdir}"]


def newest_checkpoint(workdir: Path) -> int:
    """The step of the newest whole checkpoint, -1 without; writing one goes on in the background of the steps after."""
    return max((int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()), default=-1)


def final_state(config: Config, workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by path."""
    job = set_up(config, workdir / "split.json")
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        newest = checkpoints.latest()
        assert newest is not None
        phase = checkpoints.meta(newest)["progress"]["phase"]
        like = job.initial_state(phase).checkpoint(job.phases[phase].freezing)
        state = checkpoints.restore(newest, like)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(state)}


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGTERM) -> None:
    """Have the process get a signal at the beginning of the step of that number."""
    advance = Epochs._advance

    def advancing(self: Epochs, state: TrainState, step: int, most: int):
        if step + 1 < steps:
            most = min(most, steps - 1 - step)
        elif step + 1 == steps:
            most = 1
            signal.raise_signal(number)
        return advance(self, state, step, most)

    monkeypatch.setattr(Epochs, "_advance", advancing)


def train_until(step: int, config: Config, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """`train`, with a SIGTERM at the beginning of that step."""
    with monkeypatch.context() as patched:
        stop_after(step, patched)
        return train(config, workdir)


def metrics(workdir: Path, split: str | None = None) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, of one split or both, without the speeds."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key != "images_per_second"}
        for line in lines
        if split in (None, line["split"])
    ]


def assert_identical(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for path, array in first.items():
        np.testing.assert_array_equal(array, second[path], err_msg=path)
