"""Clocks that jump: no result depends on what time it is."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_jax.cache import cache_folder
from tests.faults.doors import run, train
from tests.training.helpers import SMALL_CNN, SMALL_FROZEN, assert_identical, final_state, metrics, stop_after, with_

YEARS = 10 * 365 * 24 * 3600.0
ON_DISK = with_(
    SMALL_FROZEN,
    data={"split": (0.1, 0.05, 0.85)},
    train={"feature_cache": "on", "feature_views": 2, "feature_memory_megabytes": 0},
)


def jumping(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have the wall clock jump by up to ten years, forwards and back, between any two readings; their number."""
    chance, clock, nanoseconds, readings = random.Random(0), time.time, time.time_ns, [0]

    def offset() -> float:
        readings[0] += 1
        return chance.uniform(-YEARS, YEARS)

    monkeypatch.setattr(time, "time", lambda: clock() + offset())
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + int(offset()) * 10**9)
    return readings


@pytest.mark.parametrize("config", [SMALL_CNN, ON_DISK], ids=["images", "features"])
def test_a_clock_that_jumps_changes_nothing(
    config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    assert train(config, tmp_path / "whole") == 0
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "other cache"))
    with monkeypatch.context() as patched:
        readings = jumping(patched)
        with patched.context() as stopping:
            stop_after(8, stopping)
            assert train(config, tmp_path / "run") == 143
        assert train(config, tmp_path / "run") == 0
        assert run("evaluate", f"--checkpoint={tmp_path / 'run'}") == 0
        assert readings[0] > 10
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "run"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "run")
    ended("wall clock that jumps by years", "resumed")


def test_files_from_the_future_and_from_1970(tmp_path: Path, ended: Callable[..., None]) -> None:
    """Of a machine whose clock was wrong, or an archive that was unpacked without its times."""
    config = with_(ON_DISK, train={"epochs": 1})
    assert train(config, tmp_path / "run") == 0
    longer = with_(config, train={"epochs": 2})
    for number, root in enumerate([tmp_path / "run", cache_folder() / "features"]):
        for path in root.rglob("*"):
            os.utime(path, (0, 0) if number else (time.time() + YEARS,) * 2)
    assert train(config, tmp_path / "run") == 0
    assert train(longer, tmp_path / "longer") == 0
    ended("files dated 1970 or ten years ahead", "finished", "run directory and cache")


def test_features_that_vanish_while_they_are_written_are_an_error_and_no_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    """Another process whose clock is hours ahead takes them for abandoned, and removes them."""
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    from cnn_jax.training import feature_cache

    rows = feature_cache.FeatureCache._rows

    def removing(self, *arguments):
        yield from rows(self, *arguments)
        for path in (tmp_path / "cache/features").glob(".*.tmp"):
            path.unlink()

    with monkeypatch.context() as patched:
        patched.setattr(feature_cache.FeatureCache, "_rows", removing)
        from cnn_jax.errors import RunError

        with pytest.raises(RunError, match="was removed while it was written: start the same command again"):
            train(ON_DISK, tmp_path / "run")
    assert train(ON_DISK, tmp_path / "run") == 0
    ended("feature file removed while it is written", "one clear error")
