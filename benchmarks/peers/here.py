"""The tasks of `compare.py` in cnn_jax, as the commands run them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from cnn_jax.config import ModelConfig
from cnn_jax.models.building import build
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import make_predict, make_train_step
from cnn_jax.weights import keras_description, pretrained
from cnn_jax.weights.options import PretrainedConfig

Task = Callable[[int], Any]
"""Does the work so many times, one after the other, and waits for the last. Inputs lie on the device."""
PRECISION: Any = os.environ.get("PEERS_PRECISION", "float32")


def inference(name: str, batch: np.ndarray, **settings: Any) -> Task:
    """Logits of a batch of images uint8[b, s, s, 3]."""
    model = _built(name, batch.shape[1], **settings)
    return _prediction(model, model.init(0), batch)


def application(path: str, batch: np.ndarray) -> Task:
    """Logits of a batch by the network in a Keras file."""
    scales = keras_description.network(Path(path)).scaling is not None
    config = PretrainedConfig("keras", path, normalisation="auto" if scales else "tf")
    loaded = pretrained.load(config, need_top=True)
    return _prediction(loaded.model, loaded.variables, batch)


def training(name: str, freeze_until: str, batch: np.ndarray, labels: np.ndarray, **settings: Any) -> Task:
    """A step of Adam on a batch of images, with the layers before `freeze_until` frozen."""
    model = _built(name, batch.shape[1], dropout=0.0, **settings)
    return _step(model, Freezing.until(model, freeze_until), model.init(0), batch, labels)


def prefix(name: str, freeze_until: str, batch: np.ndarray, **settings: Any) -> Task:
    """The output of the layers before `freeze_until`, as the feature cache computes it."""
    model = _built(name, batch.shape[1], **settings)
    names = [layer.name for layer in model.layers]
    part = model.part(0, names.index(freeze_until))
    return _prediction(part, model.init(0), batch)


def head(name: str, features: np.ndarray, labels: np.ndarray, image_size: int, **settings: Any) -> Task:
    """A step of the classifier alone on cached features."""
    model = _built(name, image_size, dropout=0.0, **settings)
    freezing = Freezing.until(model, "head")
    return _step(model.part(freezing.prefix(model)), freezing, model.init(0), features, labels)


def _built(name: str, image_size: int, **settings: Any) -> Model:
    return build(ModelConfig(name=name, weights="none", image_size=image_size, **settings), 2, PRECISION)


def _prediction(model: Model, variables: Any, batch: np.ndarray) -> Task:
    mesh = Mesh.create()
    variables, predict, images = mesh.replicate(variables), make_predict(model, mesh), mesh.put_batch(batch)

    def task(times: int) -> None:
        jax.block_until_ready([predict(variables, images) for _ in range(times)][-1])

    return task


def _step(model: Model, freezing: Freezing, variables: Any, batch: np.ndarray, labels: np.ndarray) -> Task:
    mesh, optimizer = Mesh.create(), optax.adam(1e-4)
    state = mesh.replicate(TrainState.create(variables, optimizer, freezing, Settings.of(0)))
    step = make_train_step(model, optimizer, freezing, mesh)
    inputs = mesh.put_batch(batch), mesh.put_batch(labels)

    def task(times: int) -> None:
        nonlocal state
        for _ in range(times):
            state, report = step(state, *inputs)
        jax.block_until_ready((state, report))

    return task
