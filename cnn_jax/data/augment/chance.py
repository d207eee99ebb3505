"""Random numbers that follow from the seed of an example alone."""

import enum
from typing import Any

from cnn_jax.io.tensorflow import tf


class Stage(enum.IntEnum):
    """Each draws numbers of its own, so that one that is switched on leaves the others as they were."""

    GEOMETRY = 0
    CROP = 1
    KERAS_COLOUR = 2
    JITTER = 3
    RAND_AUGMENT = 4
    ERASING = 5
    NOISE = 6


def stage_seed(seed: Any, stage: Stage) -> Any:
    """int64[2]: the seed of one stage. The second half of `seed`, a position in the data, stays below 2**48."""
    return seed + tf().constant([0, stage << 48], tf().int64)


def uniforms(seed: Any, stage: Stage, count: int) -> Any:
    """float32[count] in [0, 1)."""
    return tf().random.stateless_uniform((count,), stage_seed(seed, stage))


def between(uniform: Any, low: float, high: float) -> Any:
    """A number from [0, 1) as one from [low, high)."""
    return low + uniform * (high - low)
