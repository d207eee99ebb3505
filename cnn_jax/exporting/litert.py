"""LiteRT (TensorFlow Lite): what phones run. Reading a file back, and what it says of itself.

How one is written is in `litert_writing`, which needs TensorFlow; running one needs `ai_edge_litert` alone.
"""

import io
import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from cnn_jax.config.image_size import ImageSize
from cnn_jax.errors import WeightsError
from cnn_jax.exporting import litert_metadata
from cnn_jax.exporting.description import KEY, Description, image_size

MAGIC = b"TFL3"
"""At byte 4 of every file."""
MOST_AT_ONCE = 8
"""Interpreters, each on a thread of its own with its own copy of the weights."""
LABELS = "labels.txt"


class LiteRTNetwork:
    """A .tflite file in its interpreter, an image at a time on each core."""

    def __init__(self, path: Path) -> None:
        """Read and prepare it.

        Raises:
            WeightsError: the file cannot be run, or takes or gives something else than images and probabilities.
        """
        self.path = path
        self._content = path.read_bytes()
        if self._content[4:8] != MAGIC:
            raise WeightsError(f"{path} is no LiteRT model: it has not their mark at its beginning")
        self._free: SimpleQueue[Any] = SimpleQueue()
        self._made, self._making = 0, threading.Lock()
        first = self._interpreter()
        self._made = 1
        self.image_size, self.classes = self._checked(first)
        self._free.put(first)

    def __str__(self) -> str:
        return str(self.path)

    def _interpreter(self) -> Any:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise WeightsError(
                f"{self.path} runs in LiteRT, which is not installed: pip install 'cnn_jax[litert]'"
            ) from error
        try:
            interpreter = Interpreter(model_content=self._content, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:  # by what is wrong with it
            raise WeightsError(f"{self.path} cannot be run by LiteRT: {str(error).splitlines()[0]}") from error
        return interpreter

    def _checked(self, interpreter: Any) -> tuple[ImageSize, int]:
        """The size of an image, and the number of classes."""
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        shape = [int(n) for n in inputs[0]["shape"]] if len(inputs) == 1 else []
        given = [int(n) for n in outputs[0]["shape"]] if len(outputs) == 1 else []
        size = image_size(shape)
        if size is None or shape[0] != 1 or inputs[0]["dtype"] != np.uint8 or len(given) != 2:
            raise WeightsError(
                f"{self.path} does not take one image uint8[1, h, w, 3] of 0 to 255 and give one list of "
                "probabilities, as the files of python -m cnn_jax.export do: it does not say how its images are scaled"
            )
        return size, given[1]

    def probabilities(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b classes"]:
        """Of images of 0 to 255."""
        found = list(self._pool.map(self._one, images)) if len(images) > 1 else [self._one(image) for image in images]
        return np.stack(found) if found else np.zeros((0, self.classes), np.float32)

    def compile(self) -> None:
        """There is nothing to wait for."""

    def _one(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " classes"]:
        interpreter = self._taken()
        try:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
            interpreter.invoke()
            output = interpreter.get_output_details()[0]
            row = interpreter.get_tensor(output["index"])[0]
        finally:
            self._free.put(interpreter)
        scale, zero = output["quantization"]
        return (row.astype(np.float32) - zero) * np.float32(scale) if row.dtype != np.float32 else row

    def _taken(self) -> Any:
        """A free interpreter, made where there are fewer than threads."""
        with self._making:
            make = self._free.empty() and self._made < self._threads
            self._made += make
        return self._interpreter() if make else self._free.get()

    @property
    def _threads(self) -> int:
        return min(os.cpu_count() or 1, MOST_AT_ONCE)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, "litert")


def described(content: bytes, description: Description) -> bytes:
    """The file with descriptions in its metadata, ours and that of TFLite's tools, and labels.txt in a zip at its end.

    A class whose name has a line break would be two lines of labels.txt: it has spaces there, and its own name in ours.
    """
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    texts = {KEY: description.to_json().encode(), litert_metadata.NAME: litert_metadata.metadata(description, LABELS)}
    for name, text in texts.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(text, np.uint8)
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), MAGIC)
    whole = io.BytesIO(builder.Output())
    with zipfile.ZipFile(whole, "a") as archive:  # which counts places from the beginning of the file, as zip does
        # a date of its own would make every export another file
        archive.writestr(zipfile.ZipInfo(LABELS), "".join(f"{_one_line(name)}\n" for name in description.classes))
    return whole.getvalue()


def _one_line(name: str) -> str:
    return " ".join(name.splitlines())


def description_in(path: Path) -> str | None:
    """The text that `described` put there; None where there is none.

    Raises:
        WeightsError: the structure of the file is damaged.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    try:
        model = schema.Model.GetRootAs(content, 0)
        for number in range(model.MetadataLength()):
            entry = model.Metadata(number)
            if entry is not None and entry.Name() == KEY.encode():
                return bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).decode()
    except Exception as error:  # the offsets of a damaged file lead anywhere within it
        raise WeightsError(f"{path}: its metadata cannot be read: {type(error).__name__}: {error}") from error
    return None


def layer_of(tensor: str) -> str:
    """The layer in the name that the converter gives a tensor, `network_1/conv1_relu_1/Relu6;…`."""
    parts = tensor.partition(";")[0].split("/")
    name = parts[1] if len(parts) > 1 else parts[0]
    return name.removesuffix("_1")
