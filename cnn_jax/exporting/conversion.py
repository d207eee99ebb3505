"""Write the files of an export: those that Keras and TensorFlow make come from a process of their own (`worker`)."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

import cnn_jax
from cnn_jax.errors import RunFailed
from cnn_jax.exporting.description import Description
from cnn_jax.exporting.formats import FormatName
from cnn_jax.models import quantization
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model

LAST_LINES = 15
"""Of what a converter that failed has written."""


def convert(
    names: Sequence[FormatName],
    model: Model,
    variables: Variables,
    description: Description,
    folder: Path,
    calibration: UInt8[np.ndarray, "n h w 3"] | None,
    say: Callable[[str], None],
) -> dict[FormatName, Path]:
    """Write the network in each format into an empty folder; returns what was written, in the order of `names`.

    Args:
        calibration: images on which the ranges of litert-int8 are measured.
        say: is told which format is being made.

    Raises:
        RunFailed: a converter failed; the message has the end of what it said.
        TypeError: a layer that Keras has no counterpart of.
    """
    from cnn_jax.exporting import stablehlo
    from cnn_jax.weights import keras_model

    trained, model = model, quantization.plain(model)

    files: dict[FormatName, Path] = {name: folder / _FILES[name] for name in names}
    keras_h5 = folder / "model.h5"
    if set(names) != {"stablehlo"}:
        keras_model.write(keras_h5, model, variables, description.name)
    if "stablehlo" in names:
        say("stablehlo")
        files["stablehlo"].write_bytes(stablehlo.serialize(model, variables))
    others = [name for name in names if name not in ("stablehlo", "keras-h5")]
    if others:
        request: dict[str, Any] = {"model": str(keras_h5), "files": {name: str(files[name]) for name in others}}
        if calibration is not None:
            request["calibration"] = str(folder / "calibration.npy")
            request["ranges"] = {
                layer.replace("/", "_"): ends for layer, ends in quantization.learned(trained, variables).items()
            }
            np.save(folder / "calibration.npy", calibration)
        _in_a_process(request, folder, others, say)
    for name in names:
        _describe(name, files[name], description)
    return files


_FILES: dict[FormatName, str] = {
    "litert": "float32.tflite",
    "litert-float16": "float16.tflite",
    "litert-int8": "int8.tflite",
    "onnx": "model.onnx",
    "saved-model": "saved-model",
    "keras": "model.keras",
    "keras-h5": "model.h5",
    "stablehlo": "model.stablehlo",
}


def _in_a_process(request: dict[str, Any], folder: Path, names: list[FormatName], say: Callable[[str], None]) -> None:
    """Run `worker`, which says a line for each format that is done."""
    path, errors = folder / "request.json", folder / "errors.txt"
    path.write_text(json.dumps(request))
    command = [sys.executable, "-m", "cnn_jax.exporting.worker", str(path)]
    with (
        errors.open("wb") as stream,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True, env=_environment()) as process,
    ):
        try:
            assert process.stdout is not None
            left = iter(names)
            say(next(left))
            for _ in process.stdout:
                following = next(left, None)
                if following is not None:
                    say(following)
            code = process.wait()
        finally:
            process.kill()
    if code:
        lines = errors.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        raise RunFailed("the converter failed:\n    " + "\n    ".join(lines or [f"exit code {code}"]))


def _environment() -> dict[str, str]:
    """This package from where it is, Keras on TensorFlow, and no accelerator, which JAX may be using."""
    paths = [str(Path(cnn_jax.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }


def _describe(name: FormatName, path: Path, description: Description) -> None:
    """Put the description into the file, where its format has a place."""
    if name.startswith("litert"):
        from cnn_jax.exporting import litert

        path.write_bytes(litert.described(path.read_bytes(), description))
    elif name == "onnx":
        from cnn_jax.exporting import onnx

        path.write_bytes(onnx.described(path.read_bytes(), description))
    elif name == "saved-model":
        from cnn_jax.exporting import saved_model

        saved_model.described(path, description)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    return (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else iter([path])


def put(source: Path, target: Path) -> None:
    """Move what was written to its place, over an older export of the same kind.

    Raises:
        OSError: it cannot be written, or something else lies there.
    """
    from cnn_jax.io.writing import is_remote, replacing

    if not source.is_dir():
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    if is_remote(target):
        raise IsADirectoryError(0, "a SavedModel is a folder, and is written to this machine alone")
    if target.exists() and not (target / "saved_model.pb").is_file():
        raise FileExistsError(0, "there is something else there")
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=target.parent) as folder:
        shutil.copytree(source, Path(folder) / "new")
        if target.exists():
            os.replace(target, Path(folder) / "old")
        os.replace(Path(folder) / "new", target)
