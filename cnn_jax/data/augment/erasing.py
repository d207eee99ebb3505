"""Random erasing (Zhong et al., 2020, arXiv:1708.04896)."""

from typing import Any

from cnn_jax.config import AugmentConfig
from cnn_jax.data.augment.chance import Stage, stage_seed, uniforms
from cnn_jax.data.augment.windows import WINDOW_DRAWS, covers, draw_window
from cnn_jax.io.tensorflow import tf


def erase(image: Any, seed: Any, config: AugmentConfig) -> Any:
    """uint8[h, w, 3], in some images with a rectangle of random pixels or of the fill value.

    Like torchvision's, and unlike the paper's, the ratio of the rectangle's sides is log-uniform, so that it lies as
    often as it stands. Where no rectangle fits, the image stays as it is.
    """
    settings = config.erasing
    if not settings.probability:
        return image
    height, width = image.shape[:2]
    draws = uniforms(seed, Stage.ERASING, WINDOW_DRAWS + 1)
    window = draw_window(draws[1:], float(height), float(width), settings.area, settings.ratio, tf())

    def erased() -> Any:
        if settings.fill == "constant":
            pixels = tf().constant(round(config.fill_value), tf().uint8)
        else:
            noise = tf().random.stateless_uniform(
                image.shape, stage_seed(seed, Stage.NOISE), maxval=256, dtype=tf().int32
            )
            pixels = tf().cast(noise, tf().uint8)
        return tf().where(covers(window, height, width)[..., None], pixels, image)

    return tf().cond((draws[0] < settings.probability) & window.fits, erased, lambda: image)
