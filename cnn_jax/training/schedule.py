"""The learning rate over the steps of a phase: numbers that a program takes, not constants that it is compiled with."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32

from cnn_jax.config import OptimizerConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Schedule:
    """A function of the steps done, int or int32[], to the learning rate of the next one, float32[].

    A pytree: another peak, or another number of steps, finds the same compiled step. float32[] each but for `steps`.
    """

    peak: Any
    warmup: Any
    """int32[]: steps until the peak."""
    steps: Any
    """int32[]: those after the warm-up, at least 1."""
    decay_steps: Any
    """Steps that one `decay_factor` takes."""
    decay_factor: Any
    final_fraction: Any
    """Of the peak, after the last step."""
    kind: str = field(default="constant", metadata={"static": True})
    """One of `optimizer.schedule`; a program is compiled for one kind."""

    def __call__(self, step: Any) -> Any:
        """The learning rate after so many steps."""
        done = jnp.asarray(step, jnp.int32)
        # the first step has 1 / warmup of the peak: a step with a learning rate of 0 would be wasted
        rising = (done + 1) / jnp.maximum(self.warmup, 1)
        return self.peak * jnp.where(done < self.warmup, rising, self._share(done - self.warmup))

    def _share(self, done: Int32[Array, "..."]) -> Any:
        """Of the peak, after so many steps since the warm-up."""
        part, last = jnp.clip(done / self.steps, 0, 1), self.final_fraction
        match self.kind:
            case "cosine":
                return last + (1 - last) * (1 + jnp.cos(jnp.pi * part)) / 2
            case "linear":
                return last + (1 - last) * (1 - part)
            case "exponential":
                return self.decay_factor ** (done / self.decay_steps)
            case "step":  # by whole numbers: in float32, n * (1 / n) can be less than 1
                return self.decay_factor ** (done // jnp.maximum(jnp.round(self.decay_steps).astype(jnp.int32), 1))
        return jnp.float32(1)


def make_schedule(config: OptimizerConfig, steps: int, steps_per_epoch: int) -> Schedule:
    """The learning rate over `steps` steps: first the warm-up, then the schedule over what is left of them."""
    warmup = min(round(config.warmup_epochs * steps_per_epoch), steps)
    return Schedule(
        peak=np.float32(config.learning_rate),
        warmup=np.int32(warmup),
        steps=np.int32(max(steps - warmup, 1)),
        decay_steps=np.float32(config.decay_epochs * steps_per_epoch),
        decay_factor=np.float32(config.decay_factor),
        final_fraction=np.float32(config.final_fraction),
        kind=config.schedule,
    )
