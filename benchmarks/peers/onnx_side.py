"""The predictions of `compare.py` in ONNX Runtime on the CPU: Keras' networks, converted by Keras' own export."""

import os
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import keras
import keras_side
import numpy as np
import onnxruntime

Task = Callable[[int], Any]
"""Does the work so many times, one after the other."""


def inference(name: str, batch: np.ndarray, **settings: Any) -> Task:
    """Logits of a batch of images uint8[b, s, s, 3]."""
    return _prediction(keras_side.classifier(name, batch.shape[1], **settings), batch)


def prefix(name: str, freeze_until: str, batch: np.ndarray, **settings: Any) -> Task:
    """The output of the layers before `freeze_until`."""
    return _prediction(keras_side.layers_before(freeze_until, name, batch.shape[1], **settings), batch)


def _prediction(model: keras.Model, batch: np.ndarray) -> Task:
    """As many threads as ONNX Runtime takes by itself: one a core."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        model(batch[:1])  # the export asks for the shapes of a call
        path = os.path.join(folder, "network.onnx")
        model.export(path, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    inputs = {wanted.name: batch.astype(np.uint8 if wanted.type == "tensor(uint8)" else np.float32)}

    def task(times: int) -> None:
        for _ in range(times):
            session.run(None, inputs)

    return task
