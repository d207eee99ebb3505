"""The configuration of a run: frozen, validated data and nothing else.

Every field is also a command-line flag (`--model.alpha=0.5`); the text under a field is the flag's help.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from cnn_jax.config.augment import (
    AugmentConfig,
    ColourJitterConfig,
    ErasingConfig,
    FillMode,
    RandAugmentConfig,
    Range,
    Shift,
)
from cnn_jax.config.data import CsvConfig, DataConfig
from cnn_jax.config.model import NAMED_WEIGHTS, ModelConfig, ModelName
from cnn_jax.config.training import CheckpointConfig, OptimizerConfig, TrainConfig
from cnn_jax.config.validation import check_types, require

__all__ = [
    "NAMED_WEIGHTS",
    "AugmentConfig",
    "CheckpointConfig",
    "ColourJitterConfig",
    "Config",
    "CsvConfig",
    "DataConfig",
    "ErasingConfig",
    "FillMode",
    "ModelConfig",
    "ModelName",
    "OptimizerConfig",
    "RandAugmentConfig",
    "Range",
    "Shift",
    "TrainConfig",
    "differences",
    "flags",
]


@dataclass(frozen=True)
class Config:
    """A run: what `--exp` names, after the flags."""

    name: str = "run"
    """Name of the experiment; the run directory is runs/NAME unless --workdir says otherwise."""
    seed: int = 0
    """Fixes the initial weights, the split, the order of the images, their augmentation and dropout."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self) -> None:
        check_types(self, "")
        plain = bool(self.name) and self.name not in (".", "..") and not any(c in self.name for c in "/\\\0\n")
        require(plain, "name", self.name, "usable as a folder's name, without slashes")
        require(0 <= self.seed < 2**31, "seed", self.seed, "at least 0 and below 2**31")
        parts, size = self.optimizer.microbatches, self.data.batch_size
        divides = f"a divisor of data.batch_size={size}"
        require(size % parts == 0, "optimizer.microbatches", parts, divides)
        epochs, head_epochs = self.train.epochs, self.train.head_epochs
        if self.optimizer.name == "lbfgs":
            require(epochs == 1, "train.epochs", epochs, "1 with optimizer.name=lbfgs, which is done in one epoch")
        linear = not self.model.dense or "lbfgs" not in (self.optimizer.name, self.optimizer.head_name)
        rule = "empty with optimizer lbfgs, which solves one linear layer; for hidden layers say --optimizer.name=adam"
        require(linear, "model.dense", self.model.dense, f"{rule} --train.epochs=20")
        jitter = self.data.augment.jitter
        for name in ("saturation", "hue"):
            colours = self.model.channels == 3 or not getattr(jitter, name)
            rule = "0 with model.channels=1: grey images have no colours to change"
            require(colours, f"data.augment.jitter.{name}", getattr(jitter, name), rule)
        if self.optimizer.head_name == "lbfgs":
            rule = "1 with optimizer.head_name=lbfgs, which solves the classifier in the first of train.epochs"
            require(head_epochs == 1, "train.head_epochs", head_epochs, rule)


def flags(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every field under the name of its flag, such as `optimizer.learning_rate`."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        nested = dataclasses.is_dataclass(value)
        found |= flags(value, f"{prefix}{item.name}.") if nested else {f"{prefix}{item.name}": value}
    return found


def differences(old: Any, new: Any) -> list[str]:
    """The fields in which two configurations differ, as `field: old -> new`."""
    after = flags(new)
    return [f"{name}: {value!r} -> {after[name]!r}" for name, value in flags(old).items() if value != after[name]]
