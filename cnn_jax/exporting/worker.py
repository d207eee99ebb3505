"""The process in which Keras and TensorFlow convert: python -m cnn_jax.exporting.worker REQUEST.json

It is one of its own because the converters need Keras on TensorFlow, and a program that exports may have Keras on JAX
or PyTorch, or TensorFlow on a GPU; they also write to the terminal from C++, and a fault of theirs ends the process.

The request: `model`, the .h5 file of `keras_model.write`; `files`, the path to write for each format; and, for
litert-int8, `calibration`, an .npy of images uint8[n, h, w, 3], and `ranges`, those that training has found. Each
format that is written is a line on standard output.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(argv: list[str]) -> int:
    """Write the files of a request; returns the exit code."""
    from cnn_jax.exporting import keras_files

    request = json.loads(Path(argv[0]).read_text())
    model = keras_files.load(Path(request["model"]))
    for kind, path in request["files"].items():
        _WRITERS[kind](model, Path(path), request)
        print(kind, flush=True)
    return 0


def _keras(model: Any, path: Path, request: dict[str, Any]) -> None:
    model.save(str(path))


def _saved_model(model: Any, path: Path, request: dict[str, Any]) -> None:
    from cnn_jax.exporting import tensorflow_functions

    tensorflow_functions.write_saved_model(model, path, batch=None)


def _onnx(model: Any, path: Path, request: dict[str, Any]) -> None:
    from cnn_jax.exporting import onnx_writing

    onnx_writing.write(model, path)


def _litert(model: Any, path: Path, request: dict[str, Any]) -> None:
    from cnn_jax.exporting import litert_writing

    litert_writing.write(model, path)


def _litert_float16(model: Any, path: Path, request: dict[str, Any]) -> None:
    from cnn_jax.exporting import litert_writing

    litert_writing.write(model, path, half=True)


def _litert_int8(model: Any, path: Path, request: dict[str, Any]) -> None:
    from cnn_jax.exporting import litert_writing

    litert_writing.write_int8(model, path, Path(request["calibration"]), request["ranges"])


_WRITERS: dict[str, Callable[[Any, Path, dict[str, Any]], None]] = {
    "keras": _keras,
    "saved-model": _saved_model,
    "onnx": _onnx,
    "litert": _litert,
    "litert-float16": _litert_float16,
    "litert-int8": _litert_int8,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
