"""The paths of a configuration, made absolute."""

import dataclasses
import os
from pathlib import Path

from cnn_jax.config import NAMED_WEIGHTS, Config, ModelConfig
from cnn_jax.config.image_size import ImageSize
from cnn_jax.config.model import KERAS_PREFIX


def resolve_paths(config: Config) -> Config:
    """The configuration with absolute paths, so that a run can be read from any folder."""
    kind, colon, folder = config.data.dataset.partition(":")
    local = colon and kind in ("folder", "flat", "csv") and folder
    dataset = f"{kind}:{_absolute(folder)}" if local else config.data.dataset
    root = config.data.csv.root and _absolute(config.data.csv.root)
    csv = dataclasses.replace(config.data.csv, root=root)
    data_dir = config.data.data_dir and _absolute(config.data.data_dir)
    exclude = config.data.exclude and _absolute(config.data.exclude)
    weights = config.model.weights
    if weights not in NAMED_WEIGHTS and not weights.startswith(KERAS_PREFIX):
        weights = _absolute(weights)
    teacher = config.train.teacher and _absolute(config.train.teacher)
    model = dataclasses.replace(config.model, weights=weights)
    return dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, teacher=teacher),
        model=dataclasses.replace(model, image_size=image_size(model)),
        data=dataclasses.replace(config.data, dataset=dataset, data_dir=data_dir, exclude=exclude, csv=csv),
    )


def image_size(model: ModelConfig) -> ImageSize:
    """As configured; where that is the default, the size of the network in the Keras file or run."""
    if model.name != "keras" or model.image_size != ModelConfig.image_size:
        return model.image_size
    from cnn_jax.weights import keras_application, keras_description  # JAX loads for them alone

    weights = model.weights
    path = keras_application.locate(weights) if weights.startswith(KERAS_PREFIX) else Path(weights)
    return keras_description.network(path, model.image_size).image_size if path.exists() else model.image_size


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))
