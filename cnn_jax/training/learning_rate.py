"""The learning-rate range test (Smith, 2017, arXiv:1506.01186): train with ever larger steps, and watch the loss."""

import contextlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from cnn_jax.config import Config
from cnn_jax.data.augment.device import side
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.evaluation.plots import write_learning_rate_plot
from cnn_jax.io.writing import replacing, write_atomically, writing
from cnn_jax.training.loaders import make_loader
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.processes import fail_together, is_main
from cnn_jax.training.schedule import make_schedule
from cnn_jax.training.setup import Job, set_up
from cnn_jax.training.step import make_train_step

LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100
SMOOTHING = 0.9
"""Share of the running mean of the loss that a step keeps."""
WINDOW = 15
"""Steps, about a decade of rates, over which the slope of the loss is taken."""
DIVERGED = 4.0
"""The test ends where the smoothed loss is so many times the lowest one."""


@dataclass(frozen=True)
class RangeTest:
    """Learning rates, the losses of the steps with them, and the one to begin with."""

    learning_rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float


def find_learning_rate(config: Config, folder: Path, reporter: Reporter) -> RangeTest:
    """Train the trainable partition of `config` for 100 steps with rates from 1e-7 to 1; keep nothing of it.

    Writes learning_rate.json and learning_rate.png into `folder`.

    Raises:
        UserError: as for a run.
        RunError: the loss diverged before anything could be seen.
    """
    if config.optimizer.name == "lbfgs":
        raise ConfigError("--find-learning-rate: optimizer.name=lbfgs has no learning rate")
    # a few steps see few images: features of all of them would take longer than the test
    optimizer = replace(config.optimizer, head_name="same", l2=None)
    train = replace(config.train, feature_cache="off", head_epochs=0)
    with fail_together():
        job = set_up(replace(config, train=train, optimizer=optimizer), None)
    rates, losses = _run(job, reporter)
    if len(losses) < 10:
        raise RunError("the loss is not finite from the first steps on: look at the images and weights first")
    smoothed = smooth(losses)
    found = RangeTest(rates, losses, smoothed, suggest(rates, losses))
    if is_main():
        with writing(f"--workdir={folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "learning_rate.json", json.dumps(asdict(found), indent=1))
            with replacing(folder / "learning_rate.png") as temporary:
                write_learning_rate_plot(temporary, rates, losses, smoothed, found.suggestion)
    return found


def _run(job: Job, reporter: Reporter) -> tuple[list[float], list[float]]:
    """Rates and losses, up to where the loss diverges."""
    growth = math.log(HIGHEST / LOWEST) / (STEPS - 1)
    optimizer = replace(job.config.optimizer, learning_rate=LOWEST, schedule="exponential", warmup_epochs=0.0)
    by_step = np.float32(math.exp(growth))
    rising = replace(make_schedule(optimizer, STEPS, 1), decay_steps=np.float32(1), decay_factor=by_step)
    phase = replace(job.phases[0], schedule=rising)
    state = replace(job, phases=(phase,)).initial_state()
    loader = make_loader(job, phase, state, side(job.config.data.augment), reporter, lambda: False)
    assert loader is not None
    step = make_train_step(loader.model, phase.optimizer, phase.freezing, job.mesh, loader.options)
    rates: list[float] = []
    losses: list[float] = []
    with (
        contextlib.closing(job.mesh.placed(loader.training(0), 0)) as batches,
        reporter.bar("learning rates", STEPS, "steps") as bar,
    ):
        for number, batch in zip(range(STEPS), batches, strict=False):
            state, report = step(state, *loader.taught.arguments(batch))
            loss = float(report["loss"])
            if not math.isfinite(loss):
                break
            rates.append(LOWEST * math.exp(growth * number))
            losses.append(loss)
            bar.advance(1, f"loss {loss:.4f} at {rates[-1]:.1e}")
            smoothed = smooth(losses)
            if number >= 10 and smoothed[-1] > DIVERGED * min(smoothed):
                break
    return rates, losses


def smooth(losses: list[float]) -> list[float]:
    """Running mean, without the pull towards 0 of its beginning."""
    mean, result = 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        result.append(mean / (1 - SMOOTHING**count))
    return result


def suggest(rates: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls fastest over the logarithm of the rate.

    The slope is that of a line through the losses of `WINDOW` steps: single batches are too noisy to compare.
    """
    half, x, y = WINDOW // 2, np.log(rates), np.asarray(losses)
    end = max(int(np.argmin(smooth(losses))), half)  # past its lowest point the loss is on its way up
    middles = [i for i in range(half, len(y) - half) if i <= end] or [len(y) // 2]
    slopes = [np.polyfit(x[max(i - half, 0) : i + half + 1], y[max(i - half, 0) : i + half + 1], 1)[0] for i in middles]
    return float(f"{rates[middles[int(np.argmin(slopes))]]:.1e}")
