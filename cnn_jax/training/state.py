"""What training changes, as one pytree."""

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn_jax.models.chain import Variables
from cnn_jax.training.freezing import Freezing


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Totals:
    """Sums over the training examples of the epoch so far."""

    loss: jax.Array
    """float32[]"""
    correct: jax.Array
    """int32[]"""
    count: jax.Array
    """int32[]"""

    @classmethod
    def zero(cls) -> "Totals":
        """Distinct arrays, so that each can be donated."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def means(self) -> dict[str, float]:
        """Mean loss and accuracy."""
        count = max(int(self.count), 1)
        return {"loss": float(self.loss) / count, "accuracy": int(self.correct) / count}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a training step reads and writes; random numbers and data follow from `step`."""

    step: jax.Array
    """int32[]: steps done."""
    params: Variables
    """All parameters, frozen ones included: {layer: {leaf: float32}}."""
    batch_stats: Variables
    opt_state: optax.OptState
    """Of the trainable parameters alone."""
    totals: Totals

    @classmethod
    def create(cls, variables: Variables, optimizer: optax.GradientTransformation, freezing: Freezing) -> "TrainState":
        """The state before the first step."""
        trainable, _ = freezing.split(variables["params"])
        return cls(
            jnp.zeros((), jnp.int32),
            variables["params"],
            variables["batch_stats"],
            optimizer.init(trainable),
            Totals.zero(),
        )

    @property
    def variables(self) -> Variables:
        """What the model needs for inference."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for a checkpoint whose layout does not depend on this class."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
