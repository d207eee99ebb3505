"""What training changes, as one pytree."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32, UInt32

from cnn_jax.models.chain import Variables
from cnn_jax.training.freezing import Freezing, merge
from cnn_jax.training.schedule import Schedule


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Totals:
    """Sums over the training steps of the epoch so far."""

    loss: Float32[Array, ""]
    """Over examples."""
    correct: Int32[Array, ""]
    count: Int32[Array, ""]
    """Examples."""
    gradient_norm: Float32[Array, ""]
    """Over steps."""
    steps: Int32[Array, ""]

    @classmethod
    def zero(cls) -> "Totals":
        """Distinct arrays, so that each can be donated."""
        return cls(*(jnp.zeros((), dtype) for dtype in (jnp.float32, jnp.int32, jnp.int32, jnp.float32, jnp.int32)))

    def plus(
        self, loss: Float32[Array, ""], correct: Int32[Array, ""], count: int, gradient_norm: Float32[Array, ""]
    ) -> "Totals":
        """With one step more: the sum of its losses, the right answers among its `count` examples, and its gradient."""
        return Totals(
            self.loss + loss,
            self.correct + correct,
            self.count + count,
            self.gradient_norm + gradient_norm,
            self.steps + 1,
        )

    def means(self) -> dict[str, float]:
        """Mean loss and accuracy of the examples, and mean norm of the gradient of the trainable parameters."""
        count, steps = max(int(self.count), 1), max(int(self.steps), 1)
        return {
            "loss": float(self.loss) / count,
            "accuracy": int(self.correct) / count,
            "gradient_norm": float(self.gradient_norm) / steps,
        }


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Settings:
    """What differs between runs that share a compiled step."""

    key: UInt32[Array, "2"]
    """Of all random numbers of the steps, by the seed of the run."""
    schedule: Schedule | None
    """Of the phase; None for an optimizer that takes none."""

    @classmethod
    def of(cls, seed: int, schedule: Schedule | None = None) -> "Settings":
        """Of a run with this seed."""
        return cls(jax.random.key_data(jax.random.key(seed)), schedule)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a training step reads and writes; random numbers and data follow from seed and `step`."""

    step: Int32[Array, ""]
    """Steps done."""
    params: Variables
    """All parameters, frozen ones included: {layer: {leaf: float32}}."""
    batch_stats: Variables
    opt_state: optax.OptState
    """Of the trainable parameters alone."""
    settings: Settings
    """They stay as they are."""
    totals: Totals
    average: Variables | None
    """With train.ema_decay, the running mean of what moves: {"params": trainable ones, "batch_stats": moving ones}."""

    @classmethod
    def create(
        cls,
        variables: Variables,
        optimizer: optax.GradientTransformation,
        freezing: Freezing,
        settings: Settings,
        averaged: bool = False,
    ) -> "TrainState":
        """The state before the first step; `averaged` with a running mean."""
        trainable, _ = freezing.split(variables["params"])
        return cls(
            jnp.zeros((), jnp.int32),
            variables["params"],
            variables["batch_stats"],
            optimizer.init(trainable),
            settings,
            Totals.zero(),
            jax.tree.map(jnp.copy, moving(variables, freezing)) if averaged else None,
        )

    def enter(
        self, optimizer: optax.GradientTransformation, freezing: Freezing, schedule: Schedule | None
    ) -> "TrainState":
        """Go on with another partition: a new optimizer state; running means begin for what moves from now on."""
        settings = replace(self.settings, schedule=schedule)
        started = TrainState.create(self.variables, optimizer, freezing, settings, self.average is not None)
        average = started.average
        if average is not None and self.average is not None:
            average = {
                key: {
                    layer: {leaf: self.average[key].get(layer, {}).get(leaf, value) for leaf, value in leaves.items()}
                    for layer, leaves in layers.items()
                }
                for key, layers in average.items()
            }
        return replace(started, step=self.step, average=average)

    @property
    def variables(self) -> Variables:
        """What the training step computes with."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def evaluated(self) -> Variables:
        """What inference computes with: the running means where there are some."""
        if self.average is None:
            return self.variables
        return {key: merge(value, self.average[key]) for key, value in self.variables.items()}

    def checkpoint(self, freezing: Freezing) -> dict[str, Any]:
        """As saved: `variables`, all that inference needs, and `training`, what else it takes to go on."""
        training = {name: getattr(self, name) for name in ("step", "opt_state", "settings", "totals")}
        if self.average is not None:  # `variables` hold the running means then, so what moves is kept beside them
            training["moving"] = moving(self.variables, freezing)
        return {"variables": self.evaluated, "training": training}

    @classmethod
    def from_checkpoint(cls, saved: dict[str, Any], freezing: Freezing) -> "TrainState":
        """The inverse of `checkpoint`."""
        variables, training = saved["variables"], dict(saved["training"])
        moved, average = training.pop("moving", None), None
        if moved is not None:
            average = moving(variables, freezing)
            variables = {key: merge(value, moved[key]) for key, value in variables.items()}
        return cls(params=variables["params"], batch_stats=variables["batch_stats"], average=average, **training)


def moving(variables: Variables, freezing: Freezing) -> Variables:
    """The part of the variables that a step changes."""
    return {
        "params": freezing.split(variables["params"])[0],
        "batch_stats": freezing.split_statistics(variables["batch_stats"])[0],
    }
