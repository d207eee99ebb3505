"""Random changes to one training image, inside a TensorFlow graph and with no state at all.

`device` does the same to whole batches in JAX. What turns random numbers into parameters is written once for both:
those functions take `xp`, the module whose functions they call, `tensorflow` or `jax.numpy`.

In this order: the geometry as one projective resample (`geometry`), Keras' channel shift and brightness and the colour
jitter (`colour`), RandAugment (`randaugment`), random erasing (`erasing`). Mixing images with each other comes later,
on the device (`cnn_jax.data.mixing`).
"""

from typing import Any

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.colour import jitter, shift_channels_and_brighten
from cnn_jax.data.augment.erasing import erase
from cnn_jax.data.augment.geometry import move
from cnn_jax.data.augment.randaugment import rand_augment

__all__ = ["augment"]


def augment(image: Any, seed: Any, config: AugmentConfig, shape: tuple[int, int] | None = None) -> Any:
    """Change an image at random; the result is a pure function of the image, `seed` and `config`.

    Args:
        image: uint8[h, w, 3]; where `config.reads_originals`, of any size, with 1 or 3 channels.
        seed: int64[2].
        config: what may change; with everything off the result is `image` itself.
        shape: rows and columns of the result where `config.reads_originals`.

    Returns:
        uint8[h, w, 3], or uint8[*shape, 3] where `config.reads_originals`.
    """
    image = move(image, seed, config, shape)
    image = shift_channels_and_brighten(image, seed, config)
    image = jitter(image, seed, config.jitter)
    image = rand_augment(image, seed, config)
    return erase(image, seed, config)
