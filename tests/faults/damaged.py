"""Damages a copy of a run directory by a seed, and goes on from what is whole, as `fit` does, but for its training."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.config import Config
from cnn_jax.data import splits
from cnn_jax.data.sources import open_dataset
from cnn_jax.runtime.clock import Clock
from cnn_jax.training import loop, resume
from cnn_jax.training.run import damage, run_directory, trackers
from cnn_jax.training.run.checkpoints import Checkpoints
from cnn_jax.training.run.lock import Lock
from cnn_jax.training.run.logs import MetricsLog, Reporter
from cnn_jax.training.run.logs import read as read_metrics
from cnn_jax.training.setup import Job, set_up

Content = bytearray
VALUES = ("[]", "{}", "null", "7", '"x"', "[1, 2]", '{"a": {"b": []}}', "[[[[", "NaN", '{"splits": {}}')


def flip(content: Content, rng: np.random.Generator) -> Content:
    for _ in range(rng.integers(1, 6) if content else 0):
        content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
    return content


def truncate(content: Content, rng: np.random.Generator) -> Content:
    return content[: rng.integers(0, len(content) + 1)]


def splice(content: Content, rng: np.random.Generator) -> Content:
    """A stretch over another, or put in, or taken out."""
    first, last = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
    target, kind, stretch = int(rng.integers(0, len(content) + 1)), rng.integers(3), content[first:last]
    if kind == 2:
        del content[first:last]
    else:
        content[target : target + (last - first) * int(kind == 0)] = stretch
    return content


def zero(content: Content, rng: np.random.Generator) -> Content:
    return Content(len(content))


def other_json(content: Content, rng: np.random.Generator) -> Content:
    return Content(str(rng.choice(VALUES)).encode())


def empty(content: Content, rng: np.random.Generator) -> Content:
    return Content()


CHANGES: tuple[Callable[[Content, np.random.Generator], Content], ...] = (
    *(flip, flip, truncate, splice, splice, zero, other_json, empty),
)
INSTEAD = ("missing", "folder", "pipe", "link to nowhere", "another file")


def damage_one(workdir: Path, candidates: list[Path], rng: np.random.Generator) -> str:
    """Damage one of these files or folders; what was done."""
    path = candidates[rng.integers(len(candidates))]
    number = int(rng.integers(len(CHANGES) + len(INSTEAD)))
    if number < len(CHANGES) and path.is_file():
        path.write_bytes(CHANGES[number](Content(path.read_bytes()), rng))
        return f"{CHANGES[number].__name__}: {path.relative_to(workdir)}"
    kind = INSTEAD[number % len(INSTEAD)]
    files = [found for found in candidates if found.is_file()]
    content = files[rng.integers(len(files))].read_bytes()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to nowhere":
        path.symlink_to("nowhere")
    elif kind == "another file":
        path.write_bytes(content)
    return f"{kind}: {path.relative_to(workdir)}"


class Silent(Reporter):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def _once(read: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[int, Any] = {}

    def reading(checkpoints: Checkpoints, step: int, *arguments: Any) -> Any:
        if step not in known:
            known[step] = read(checkpoints, step, *arguments)
        return dict(known[step])

    return reading


class GoingOn:
    """What `fit` does in a run directory, before and after the training. Network and weights are made once."""

    def __init__(self, config: Config, patched: pytest.MonkeyPatch, *, checkpoints: bool) -> None:
        """Without `checkpoints`, each of them is read once, where it is met first: reading takes a second."""
        self._config = config
        job, found = set_up(config, None), open_dataset(config.data)
        state = job.initial_state()
        patched.setattr(Job, "initial_state", lambda *_: state)

        def again(_: Config, recorded: Path | None, *__: object) -> Job:
            if recorded is None:
                return job
            return replace(job, dataset=splits.read(found, recorded), recorded_splits=recorded)

        patched.setattr(resume, "set_up", again)
        if not checkpoints:
            for name in ("meta", "restore"):
                patched.setattr(Checkpoints, name, _once(getattr(Checkpoints, name)))

    def __call__(self, workdir: Path) -> tuple[int | None, list[str]]:
        """The step that it goes on from, and what was said.

        Raises:
            UserError: as `fit`, or RunFailed.
        """
        config, reporter = self._config, Silent()
        with loop._disk_errors(workdir), Lock(workdir) as lock:
            job, goes_on = resume.set_up_run(config, workdir, lock, reporter, None, Clock())
            run_directory.create(workdir, config, goes_on, lock, reporter.line)
            resume.write_records(job, workdir, goes_on, reporter)
            with Checkpoints(workdir / "checkpoints") as checkpoints:
                _, _, newest = resume.newest_state(job, checkpoints, reporter)
            shown = trackers.start(config, workdir, reporter.line)
            MetricsLog(workdir, newest or 0, (newest or 0) // job.steps_per_epoch, shown, reporter.line)
            loop.write_result(workdir, {}, Clock())
            read_metrics(workdir)
        return newest, reporter.lines


def whole(workdir: Path) -> list[str]:
    """What is not as a run leaves it: none of it, if all is well."""
    bad = [
        name for name in (*damage.KINDS, "split.json") if (workdir / name).exists() and not _readable(workdir / name)
    ]
    missing = [name for name in ("config.json", "classes.json", "split.json") if not (workdir / name).is_file()]
    return bad + missing


def _readable(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()) is not None
    except (OSError, ValueError):
        return False
