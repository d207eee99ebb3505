"""Real processes killed a hundred times in the midst of everything that they do: the restarts end bit-identical.

KILLS sets another number of kills.
"""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.config import CheckpointConfig, Config
from tests.faults.processes import Marked
from tests.training.helpers import SMALL_CNN, SMALL_FROZEN, assert_identical, final_state, flags, metrics, with_

KILLS = int(os.environ.get("KILLS", "102"))

PLAIN = replace(with_(SMALL_CNN, train={"epochs": 30, "ema_decay": 0.9}), checkpoint=CheckpointConfig(every_steps=2))
CACHED = replace(
    with_(
        SMALL_FROZEN,
        data={"split": (0.1, 0.05, 0.85)},
        train={"epochs": 30, "head_epochs": 5, "feature_cache": "on", "feature_views": 2},
    ),
    checkpoint=CheckpointConfig(every_steps=4),
)
ON_DISK = with_(CACHED, train={"feature_memory_megabytes": 0})

TRAINING = {
    "import": 3,
    "setting up": 3,
    "restoring": 3,
    "caching features": 4,
    "compiling": 4,
    "training": 4,
    "saving": 5,
    "validating": 3,
    "renaming": 2,
}
"""Activities of a run, and how often a process is killed in the midst of one; the first of them where KILLS is less."""
AT_THE_END = ("reporting", "writing predictions")
"""What a run does last, once each; what it predicts it has from its last validations."""
EVALUATE = ("evaluating", "reporting", "renaming")
"""Of the command `evaluate --recompute`."""
SHORTEST = {"saving": 0.3, "renaming": 0.01}
"""Seconds within which to kill at least: the background goes on with what was begun."""
EXITS = {signal.SIGKILL: (-signal.SIGKILL,), signal.SIGTERM: (143, -signal.SIGTERM, 0)}
"""A SIGTERM is obeyed at the next step (143), or at once where nothing could be saved; it may also come too late."""


def _moments(config: Config, chance: random.Random) -> list[str]:
    """The activities to kill in, in random order."""
    wanted = [name for name, times in TRAINING.items() for _ in range(times)]
    if config.train.feature_cache != "on":
        wanted = [name if name != "caching features" else "training" for name in wanted]
    chance.shuffle(wanted)
    return wanted[: max(KILLS // 3 - len(AT_THE_END) - len(EVALUATE), 0)]


@pytest.mark.slow
@pytest.mark.parametrize("config", [PLAIN, CACHED, ON_DISK], ids=["images", "features", "features on disk"])
def test_a_run_killed_at_every_kind_of_moment_ends_bit_identical(
    config: Config, tmp_path: Path, ended: Callable[..., None]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with Marked("train", flags(config, whole), {"CNN_JAX_CACHE": str(tmp_path / "cache of whole")}) as process:
        assert process.wait() == 0
        spans = process.spans()
    spans["compiling"] /= 3  # later starts find what was compiled
    chance, landed, written = random.Random(0), Counter(), 0
    own = {"CNN_JAX_CACHE": str(tmp_path / "cache"), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache" / "compiled")}

    def kill(command: str, arguments: list[str], activity: str) -> None:
        """Start, and kill in the midst of the activity."""
        nonlocal written
        number = signal.SIGTERM if landed.total() % 6 == 5 else signal.SIGKILL
        with Marked(command, arguments, own) as process:
            assert process.reaches(activity, 1 if activity != "renaming" else chance.choice([1, 2])), (
                f"the process was over before {activity}, after {landed}: give the run more epochs"
            )
            seconds = chance.uniform(0, max(spans.get(activity, 0.0), SHORTEST.get(activity, 0.0)))
            doing, code = process.kill_after(seconds, number)
        writing = any("tmp" in path.name for path in (killed / "checkpoints").glob("*"))
        assert code in EXITS[number], (doing, code)
        landed[doing] += 1
        ended("kill" if number == signal.SIGKILL else "SIGTERM", "resumed", doing)
        written += writing

    for activity in (*_moments(config, chance), *AT_THE_END):
        kill("train", flags(config, killed), activity)
    for activity in EVALUATE:
        kill("evaluate", [f"--checkpoint={killed}", "--recompute"], activity)
    print(f"{dict(landed)}, {written} of them while a checkpoint was being written")

    with Marked("train", flags(config, killed), own) as process:
        assert process.wait() == 0
    assert_identical(final_state(config, whole), final_state(config, killed))
    assert metrics(whole) == metrics(killed)
    for name in ("result.json", "evaluation-validation.json"):
        first, second = (json.loads((folder / name).read_text()) for folder in (whole, killed))
        timed = {"wall_seconds", "seconds", "images_per_second"}
        assert {k: v for k, v in first.items() if k not in timed} == {k: v for k, v in second.items() if k not in timed}
    with (
        np.load(whole / "predictions-validation.npz") as first,
        np.load(killed / "predictions-validation.npz") as second,
    ):
        assert_identical(dict(first), dict(second))
    assert (killed / "report.html").read_text().rstrip().endswith("</html>")
    assert all(path.name.isdigit() for path in (killed / "checkpoints").iterdir())
