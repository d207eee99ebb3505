"""The random changes of `cnn_jax.data.augment` to whole batches in JAX, inside the program of a training step.

The vocabulary, its order, the parameters and, for the same parameters, the pixels to within 1 of 255 are those of the
host. Only the random numbers come from another generator, `jax.random`, whose keys say which image is meant (`chance`).

Random resized crop stays on the host: it reads the photographs as they are on disk, each of a size of its own, and the
device has resized images alone. A crop of those would lack the detail that it zooms in on.
"""

from typing import Literal

import jax
from jaxtyping import Array, Key, UInt8

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.chance import Stage
from cnn_jax.data.augment.device.chance import Draws, draw, example_keys
from cnn_jax.data.augment.device.colour import jitter, shift_channels_and_brighten
from cnn_jax.data.augment.device.erasing import erase
from cnn_jax.data.augment.device.geometry import move
from cnn_jax.data.augment.device.randaugment import rand_augment
from cnn_jax.errors import ConfigError

__all__ = ["Side", "augment_batch", "example_keys", "obstacle", "side"]

Side = Literal["host", "device"]


def augment_batch(
    images: UInt8[Array, "b h w 3"], keys: Key[Array, " b"], config: AugmentConfig
) -> UInt8[Array, "b h w 3"]:
    """Change each image at random, as a pure function of the image, its key and `config`.

    Args:
        images: of a batch.
        keys: those of `chance.example_keys`.
        config: what may change; with everything off the result is `images` itself.
    """
    if config.reads_originals:
        raise ValueError(obstacle(config, "gpu"))
    if not config.changes_images:
        return images
    shape = images.shape[1], images.shape[2]
    return jax.vmap(lambda image, key: change(image, draw(key, shape, config), config))(images, keys)


def change(image: UInt8[Array, "h w 3"], draws: Draws, config: AugmentConfig) -> UInt8[Array, "h w 3"]:
    """An image, changed as its random numbers say."""
    if Stage.GEOMETRY in draws:
        image = move(image, draws[Stage.GEOMETRY], config)
    if Stage.KERAS_COLOUR in draws:
        image = shift_channels_and_brighten(image, draws[Stage.KERAS_COLOUR], config)
    if Stage.JITTER in draws:
        image = jitter(image, draws[Stage.JITTER], config.jitter)
    if Stage.RAND_AUGMENT in draws:
        image = rand_augment(image, draws[Stage.RAND_AUGMENT], config)
    if Stage.ERASING in draws:
        image = erase(image, draws[Stage.ERASING], draws.get(Stage.NOISE), config)
    return image


def side(config: AugmentConfig) -> Side:
    """Where this process would augment: with `config.on=auto` on the device of a GPU that can, else on the host.

    Raises:
        ConfigError: `config.on=device` where that is not possible.
    """
    reason = obstacle(config, jax.default_backend())
    if config.on == "device" and reason is not None:
        raise ConfigError(f"data.augment.on=device is not possible: {reason}")
    chosen = config.on == "device" or (config.on == "auto" and jax.default_backend() == "gpu" and reason is None)
    return "device" if chosen and config.changes_images else "host"


def obstacle(config: AugmentConfig, platform: str) -> str | None:
    """Why it is the host that augments on this platform (`cpu`, `gpu`, `tpu`); None where the device can."""
    if config.reads_originals:
        return (
            "data.augment.crop_area cuts out of the photographs as they are on disk, and the device has only the "
            "resized ones"
        )
    if platform == "tpu" and (config.resamples or config.rand_augment.operations):
        return "a resample takes single pixels from all over an image, and TPUs are slow at that"
    return None
