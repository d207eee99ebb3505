"""The random changes of `cnn_jax.data.augment` to whole batches in JAX, inside the program of a training step.

The vocabulary, its order, the parameters and, for the same parameters, the pixels to within 1 of 255 are those of the
host. Only the random numbers come from another generator, `jax.random`, whose keys say which image is meant (`chance`).

Random resized crop stays on the host: it reads the photographs as they are on disk, each of a size of its own, and the
device has resized images alone. A crop of those would lack the detail that it zooms in on.
"""

import jax

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.chance import Stage
from cnn_jax.data.augment.device.chance import Draws, draw
from cnn_jax.data.augment.device.colour import jitter, shift_channels_and_brighten
from cnn_jax.data.augment.device.erasing import erase
from cnn_jax.data.augment.device.geometry import move
from cnn_jax.data.augment.device.randaugment import rand_augment

__all__ = ["augment_batch", "obstacle"]


def augment_batch(images: jax.Array, keys: jax.Array, config: AugmentConfig) -> jax.Array:
    """Change each image at random, as a pure function of the image, its key and `config`.

    Args:
        images: uint8[b, h, w, 3].
        keys: key[b], of `chance.example_keys`.
        config: what may change; with everything off the result is `images` itself.

    Returns:
        uint8[b, h, w, 3].
    """
    if config.reads_originals:
        raise ValueError(obstacle(config, "gpu"))
    if not config.changes_images:
        return images
    _, height, width, _ = images.shape
    return jax.vmap(lambda image, key: change(image, draw(key, (height, width), config), config))(images, keys)


def change(image: jax.Array, draws: Draws, config: AugmentConfig) -> jax.Array:
    """uint8[h, w, 3]: an image, changed as its random numbers say."""
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
