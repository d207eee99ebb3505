"""Event files, as TensorFlow 2 writes them for TensorBoard, written without TensorFlow."""

import io
import os
import socket
import time
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.image.metadata import create_summary_metadata as of_images
from tensorboard.plugins.scalar.metadata import create_summary_metadata as of_scalars
from tensorboard.summary.writer.record_writer import RecordWriter

from cnn_jax.io.writing import append
from cnn_jax.training.run.tracker import Beginning

VERSION = "brain.Event:2"
"""Of the format; the first record of a file says it."""


class EventsFile:
    """One file of events in the run directory's `tensorboard`, a new one for every start.

    See `cnn_jax.training.run.tracker.Tracker`.
    """

    def start(self, run: Beginning) -> str:
        folder = run.workdir / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9}.{socket.gethostname()}.{os.getpid()}.{now % 10**9}.v2"
        self._path = folder / name
        self._append(Event(wall_time=now / 1e9, file_version=VERSION))
        return ""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        found = [
            Summary.Value(
                tag=name, tensor=TensorProto(dtype=DT_FLOAT, float_val=[value]), metadata=of_scalars(name, "")
            )
            for name, value in values.items()
        ]
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=found)))

    def images(self, step: int, name: str, images: UInt8[np.ndarray, "n h w 3"]) -> None:
        height, width = images.shape[1:3]
        texts = [str(width).encode(), str(height).encode(), *map(_png, images)]
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(texts))])
        tensor = TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=texts)
        value = Summary.Value(tag=name, tensor=tensor, metadata=of_images(name, ""))
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=[value])))

    def artifact(self, path: Path) -> None:
        """Nothing: TensorBoard keeps no files."""

    def end(self, status: str) -> None:
        """Nothing: every event is written at once."""

    def _append(self, event: Event) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        append(self._path, record.getvalue())


def _png(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()
