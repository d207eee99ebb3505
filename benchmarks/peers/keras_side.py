"""The tasks of `compare.py` in Keras on TensorFlow (oneDNN): compiled functions, as `fit` and `predict` run them."""

import itertools
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Task = Callable[[int], Any]
"""Does the work so many times, one after the other, and waits for the last. Inputs lie on the device."""
layers = keras.layers
PRECISION = os.environ.get("PEERS_PRECISION", "float32")
keras.config.set_dtype_policy("mixed_bfloat16" if PRECISION == "bfloat16" else "float32")
tf.config.experimental.enable_tensor_float_32_execution(PRECISION == "tensorfloat32")


def inference(name: str, batch: np.ndarray, **settings: Any) -> Task:
    """Logits of a batch of images uint8[b, s, s, 3]."""
    return _prediction(classifier(name, batch.shape[1], **settings), batch)


def application(path: str, batch: np.ndarray) -> Task:
    """Probabilities of a batch by the model in a file, scaled to -1 to 1 where it does not scale itself."""
    model = keras.models.load_model(path, compile=False)
    if not any(isinstance(layer, layers.Rescaling | layers.Normalization) for layer in model.layers):
        inputs = keras.Input(batch.shape[1:])
        model = keras.Model(inputs, model(layers.Rescaling(1 / 127.5, offset=-1)(inputs)))
    return _prediction(model, batch)


def training(name: str, freeze_until: str, batch: np.ndarray, labels: np.ndarray, **settings: Any) -> Task:
    """A step of Adam on a batch of images, with the layers before `freeze_until` frozen."""
    model = classifier(name, batch.shape[1], **settings)
    trainable = freeze_until == "none"
    for layer in model.layers:
        trainable = trainable or layer.name == freeze_until
        layer.trainable = trainable
    return _step(model, batch, labels)


def prefix(name: str, freeze_until: str, batch: np.ndarray, **settings: Any) -> Task:
    """The output of the layers before `freeze_until`."""
    return _prediction(layers_before(freeze_until, name, batch.shape[1], **settings), batch)


def head(name: str, features: np.ndarray, labels: np.ndarray, image_size: int, **settings: Any) -> Task:
    """A step of the classifier alone on cached features."""
    inputs = keras.Input(features.shape[1:])
    return _step(keras.Model(inputs, layers.Dense(2)(inputs)), features, labels)


def classifier(name: str, size: int, **settings: Any) -> keras.Model:
    """The network with a head for two classes, all layers in one model, images scaled as the weights want them."""
    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    if name == "simple_cnn":
        for filters in (32, 64):
            x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(x))
        return keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(x)))
    builder = {"mobilenet": keras.applications.MobileNet, "vgg16": keras.applications.VGG16}[name]
    body = builder(input_tensor=x, weights=None, include_top=False, **settings)
    x = layers.GlobalAveragePooling2D(name="pool")(body.output)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def layers_before(freeze_until: str, name: str, size: int, **settings: Any) -> keras.Model:
    """The layers before `freeze_until`, a model of their own."""
    model = classifier(name, size, **settings)
    before = itertools.takewhile(lambda layer: layer.name != freeze_until, model.layers)
    return keras.Model(model.inputs, list(before)[-1].output)


def _prediction(model: keras.Model, batch: np.ndarray) -> Task:
    run, images = tf.function(lambda images: model(images, training=False)), tf.constant(batch)

    def task(times: int) -> None:
        for _ in range(times):
            found = run(images)
        found.numpy()

    return task


def _step(model: keras.Model, batch: np.ndarray, labels: np.ndarray) -> Task:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss=loss, metrics=["accuracy"])
    model.make_train_function()  # which does not return it
    batches = iter(tf.data.Dataset.from_tensors((batch, labels)).cache().repeat().prefetch(1))

    def task(times: int) -> None:
        for _ in range(times):
            logs = model.train_function(batches)
        for value in tf.nest.flatten(logs):
            float(value)

    return task
