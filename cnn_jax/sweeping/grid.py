"""Which runs a sweep is made of, and what is wrong with them before any of them starts."""

from dataclasses import dataclass, replace
from pathlib import Path

from cnn_jax.config import Config, TrainConfig
from cnn_jax.errors import RunError
from cnn_jax.models.building import build
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing, count
from cnn_jax.training.run import run_directory

FILE = "sweep.json"


@dataclass(frozen=True)
class Run:
    """One of the runs: an ordinary run directory, as `train` makes it with these three flags."""

    freeze_until: str
    learning_rate: float
    seed: int
    config: Config
    directory: Path


@dataclass(frozen=True)
class Grid:
    """Every freeze point with every learning rate and every seed."""

    config: Config
    freeze_points: tuple[str, ...]
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]

    def runs(self, workdir: Path) -> list[Run]:
        """All runs, point by point; the directory of each depends on nothing but its three values.

        Raises:
            ConfigError: an impossible value.
        """
        return [
            Run(
                point,
                rate,
                seed,
                replace(
                    self.config,
                    seed=seed,
                    train=replace(self.config.train, freeze_until=point),
                    optimizer=replace(self.config.optimizer, learning_rate=rate),
                ),
                workdir / point / f"learning_rate_{rate!r}-seed_{seed}",
            )
            for point in self.freeze_points
            for rate in self.learning_rates
            for seed in self.seeds
        ]

    def model(self, classes: int) -> Model:
        """The network that all of them train, for so many classes."""
        return build(self.config.model, classes, self.config.train.precision)

    def in_order_of_depth(self, model: Model) -> "Grid":
        """The grid with its freeze points from the one that trains most to the one that trains least.

        So each can go on from the features of the one before.

        Raises:
            ConfigError: a layer that the model does not have (with the near names).
        """
        depths = {point: len(model.layers_before(point, "--freeze-until")) for point in self.freeze_points}
        return replace(self, freeze_points=tuple(sorted(depths, key=lambda point: depths[point])))

    def parameters(self, model: Model) -> dict[str, dict[str, int]]:
        """Numbers of parameters by freeze point: total, trainable and frozen.

        Raises:
            ConfigError: see `in_order_of_depth`; or a pattern in `train.frozen` that matches nothing.
        """
        return {point: _parameters(model, self.config.train, point) for point in self.freeze_points}


def _parameters(model: Model, config: TrainConfig, point: str) -> dict[str, int]:
    freezing = Freezing.configured(model, replace(config, freeze_until=point))
    trainable, frozen = map(count, freezing.split(model.shapes["params"]))
    return {"total": trainable + frozen, "trainable": trainable, "frozen": frozen}


def check(workdir: Path, planned: list[Run]) -> None:
    """Raise RunError where `workdir` holds other files, or a run of the grid with another configuration."""
    if workdir.exists() and not (workdir / FILE).exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise RunError(f"--workdir={workdir} exists and is not the directory of a sweep: give another")
    for run in planned:
        run_directory.check(run.directory, run.config)
