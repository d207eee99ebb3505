"""Random numbers that follow from the key of an example alone, so not from the batch or the device that it is on."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int, Int32, Key, UInt8

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.chance import Stage
from cnn_jax.data.augment.colour import JITTER_DRAWS, KERAS_DRAWS
from cnn_jax.data.augment.geometry import DRAWS
from cnn_jax.data.augment.windows import WINDOW_DRAWS

AUGMENTATION = 0x617567
"""Tells these keys from those of dropout and mixing, which follow from the same seed."""

Draws = dict[Stage, Float32[Array, " draws"] | UInt8[Array, "h w 3"]]
"""The random numbers of one image: in [0, 1) for each stage that is on, and bytes for the noise."""


def example_keys(key: Key[Array, ""], number: Int[Array, ""] | int, places: Int32[Array, " b"]) -> Key[Array, " b"]:
    """Keys of the examples at some places of a pass over the data.

    A place is one visit. The example itself would not do, since a pass may show it twice, and each visit has changes of
    its own.

    Args:
        key: of the run.
        number: of the pass.
        places: counted from 0 over the pass.
    """
    of_pass = jax.random.fold_in(jax.random.fold_in(key, AUGMENTATION), number)
    return jax.vmap(lambda place: jax.random.fold_in(of_pass, place))(places)


def draw(key: Key[Array, ""], shape: tuple[int, int], config: AugmentConfig) -> Draws:
    """What one image of this height and width takes."""
    counts = {}
    if config.resamples or config.horizontal_flip or config.vertical_flip:
        counts[Stage.GEOMETRY] = DRAWS
    if config.channel_shift or config.brightness not in (None, (1, 1)):
        counts[Stage.KERAS_COLOUR] = KERAS_DRAWS
    if config.jitter.is_on:
        counts[Stage.JITTER] = JITTER_DRAWS
    if config.rand_augment.operations:
        counts[Stage.RAND_AUGMENT] = 2 * config.rand_augment.operations
    if config.erasing.probability:
        counts[Stage.ERASING] = WINDOW_DRAWS + 1
    draws = {stage: jax.random.uniform(_stage_key(key, stage), (count,)) for stage, count in counts.items()}
    if Stage.ERASING in counts and config.erasing.fill == "noise":
        words = jax.random.bits(_stage_key(key, Stage.NOISE), shape, jnp.uint32)  # three colours cost as much as one
        draws[Stage.NOISE] = jnp.stack([words >> 8 * channel for channel in range(3)], -1).astype(jnp.uint8)
    return draws


def _stage_key(key: Key[Array, ""], stage: Stage) -> Key[Array, ""]:
    return jax.random.fold_in(key, stage)
