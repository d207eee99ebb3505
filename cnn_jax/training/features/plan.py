"""Whether the outputs of frozen layers are kept, and in what form."""

import math
from dataclasses import dataclass

from cnn_jax.config import Config
from cnn_jax.errors import ConfigError
from cnn_jax.io.store import numpy_dtype
from cnn_jax.models.chain import layer_names
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing


@dataclass(frozen=True)
class Plan:
    """What is kept of each image."""

    layers: int
    """How many layers run once; the rest trains on the output of the last of them."""
    shape: tuple[int, ...]
    """Of one image's features."""
    dtype: str
    views: int
    """Augmented versions of each training image; 0: the image itself."""
    megabytes: float
    """Of all features, training and validation."""
    in_memory: bool
    """During the run; otherwise they are read from the cache folder, step by step."""


def make_plan(
    config: Config,
    model: Model,
    freezing: Freezing,
    images: dict[str, int],
    visits: float,
) -> tuple[Plan | None, str]:
    """Whether to keep features, and in what form; depends on nothing but its arguments, so that a resumed run agrees.

    Args:
        images: the numbers of images in train and validation.
        visits: how many training images the steps will see, repetitions counted.

    Returns:
        The plan, or None and the reason.

    Raises:
        ConfigError: train.feature_cache=on where that cannot be.
    """
    settings, augmented = config.train, config.data.augment.changes_images
    if settings.feature_cache == "off":
        return None, "train.feature_cache=off"
    layers = freezing.prefix(model)
    names = layer_names(model.layers[:layers])
    if not any(name in model.shapes["params"] for name in names):
        return _refused(settings.feature_cache, "nothing is frozen at the start of the network (train.freeze_until)")
    if config.data.augment.mixes:
        return _refused(
            settings.feature_cache,
            "each step mixes its images anew (data.augment.mixup, data.augment.cutmix), before the first layer",
        )
    if augmented and not settings.feature_views:
        return _refused(
            settings.feature_cache,
            "the images are augmented anew at every visit; train.feature_views=k would keep k versions of each",
        )
    views = settings.feature_views if augmented else 0
    shape = model.output_shapes[names[-1]].shape[1:]
    each = math.prod(shape) * numpy_dtype(settings.feature_dtype).itemsize
    computed = images["train"] * max(views, 1)
    megabytes = (computed + images["validation"]) * each / 2**20
    if settings.feature_cache == "auto" and visits < 1.5 * computed:
        return None, "each image is visited too seldom for it"
    in_memory = megabytes <= settings.feature_memory_megabytes
    if not in_memory and megabytes > settings.feature_disk_megabytes:
        return _refused(
            settings.feature_cache,
            f"they need {megabytes:,.0f} MB, more than train.feature_memory_megabytes and train.feature_disk_megabytes",
        )
    return Plan(layers, shape, settings.feature_dtype, views, megabytes, in_memory), ""


def _refused(setting: str, reason: str) -> tuple[None, str]:
    if setting == "on":
        raise ConfigError(f"train.feature_cache=on is not possible: {reason}")
    return None, reason
