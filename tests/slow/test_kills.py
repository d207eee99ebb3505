"""A run killed a hundred times, at random moments, ends bit-identical to one that was left alone.

`make test-slow` runs it; KILLS sets another number of kills.
"""

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cnn_jax.config import CheckpointConfig
from tests.training.helpers import (
    SMALL_CNN,
    SMALL_FROZEN,
    assert_identical,
    command,
    final_state,
    metrics,
    newest_checkpoint,
    train,
    with_,
)

KILLS = int(os.environ.get("KILLS", "100"))

PLAIN = replace(with_(SMALL_CNN, train={"epochs": 120, "ema_decay": 0.9}), checkpoint=CheckpointConfig(every_steps=2))
CACHED = replace(
    with_(
        SMALL_FROZEN,
        data={"split": (0.1, 0.05, 0.85)},
        train={"epochs": 120, "head_epochs": 20, "feature_cache": "on", "feature_views": 2},
    ),
    checkpoint=CheckpointConfig(every_steps=4),
)


@pytest.mark.slow
@pytest.mark.parametrize("config", [PLAIN, CACHED], ids=["images", "features"])
def test_a_run_killed_a_hundred_times_ends_bit_identical(config, tmp_path: Path) -> None:
    workdir = tmp_path / "killed"
    start = command(config, workdir)
    chance, kills, moments = random.Random(0), 0, {"writing": 0, "between": 0}
    while kills < KILLS // 2:
        started = time.time()
        process = os.posix_spawn(sys.executable, start, os.environ)
        before = newest_checkpoint(workdir)
        while newest_checkpoint(workdir) == before and not os.waitid(
            os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            time.sleep(0.005)
            assert time.time() - started < 300, "the run makes no progress"
        time.sleep(chance.uniform(0, 0.4))
        writing = any("tmp" in path.name for path in (workdir / "checkpoints").iterdir())
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), f"the run was over after {kills} kills: give it more epochs"
        moments["writing" if writing else "between"] += 1
        kills += 1
    print(f"{kills} kills, {moments['writing']} of them while a checkpoint was being written")
    assert train(config, workdir).result["status"] == "completed"
    train(config, tmp_path / "whole")
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, workdir))
    assert metrics(tmp_path / "whole") == metrics(workdir)
