"""Model files and folders of other kinds: what they are, by their content, and the way to one that is read."""

import re
import zipfile
from pathlib import Path

from cnn_jax.errors import WeightsError
from cnn_jax.io.files import entries
from cnn_jax.io.writing import is_remote

START = 2**16
"""Bytes at the beginning of a file that are looked at."""
HDF5 = b"\x89HDF\r\n\x1a\n"
KERAS = (".h5", ".keras", ".hdf5")
"""Suffixes of files that are read."""

SAVE = "in the program that made it, write `model.save('model.keras')` and give that file"
SOURCE = f"There is no way back from it: {SAVE}"
OTHER_LIBRARY = (
    "Its arrays have other names and another order. Many of its networks are in Keras with weights of their own, as "
    "`keras.applications.MobileNet().save('model.keras')`"
)
UNPACK = "Unpack it and give the .h5 or .keras file in it"
CHECKPOINT = (
    "part of a checkpoint of TensorFlow",
    f"Load it, with `model.load_weights('NAME')`; {SAVE}",
)

FILES = [
    (re.compile(pattern, re.DOTALL), what, way)
    for pattern, what, way in (
        (
            rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml|!--)",
            "a web page",
            "The download failed, or asks you to log in or agree first: open the address in a browser",
        ),
        (
            rb"version https://git-lfs",
            "what git keeps in the place of a large file",
            "Fetch the file itself with `git lfs pull`",
        ),
        (rb".{4}TFL3", "a TensorFlow Lite model", SOURCE),
        (rb'\s*\{.*"format": *"graph-model"', "a graph of TensorFlow.js", SOURCE),
        (
            rb'\s*\{.*"(modelTopology|weightsManifest)"',
            "a model of TensorFlow.js",
            "`pip install tensorflowjs`, then `tensorflowjs_converter --input_format=tfjs_layers_model "
            "--output_format=keras model.json model.h5`, and give model.h5",
        ),
        (
            rb'\s*\{.*"class_name"',
            "Keras' description of a network, without its weights",
            f"As for the weights: {SAVE}",
        ),
        (rb'\s*\{.*"weight_map"', "a list of the files over which weights are spread", f"As one file: {SAVE}"),
        (rb"\x80.\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", "a file of PyTorch", OTHER_LIBRARY),
        (rb"\x80[\x02-\x05]", "a pickle of Python", f"Pickles are never opened, since they can run anything: {SAVE}"),
        (rb"\x93NUMPY", "an array of NumPy", f"It does not say of which layer it is: {SAVE}"),
        (rb".{5}\0{3}\{", "a safetensors file", OTHER_LIBRARY),
        (rb"\x08\x01\x12", "a SavedModel without its folder", "Give the folder, which has the weights"),
        (rb"\x08[\x03-\x20][\x12\x1a:B]", "an ONNX model", OTHER_LIBRARY),
        (rb"\n.{1,3}\n[\x01-\x7f][\w./-]+\x12", "a frozen graph of TensorFlow", SOURCE),
        (rb"\x1f\x8b|BZh|\xfd7zXZ\0|7z\xbc\xaf|Rar!|.{257}ustar", "a compressed file or an archive", UNPACK),
    )
]
"""How a file begins, what that is, and what helps; the first that fits counts."""


def refuse(path: Path) -> None:
    """Raise WeightsError where this is a file or folder of a kind that is not read, with the way to one that is.

    What is not recognised is left to the readers.

    Raises:
        OSError: it cannot be looked at.
    """
    found = _of_folder(path) if path.is_dir() else _of_file(path) if path.is_file() else _of_prefix(path)
    if found is not None:
        what, way = found
        raise WeightsError(f"{path} cannot be read as a Keras weights file: it is {what}. {way}")


def _of_file(path: Path) -> tuple[str, str] | None:
    with path.open("rb") as file:
        start = file.read(START)
    if not start:
        return "empty", "Its download or its copying failed: fetch it again"
    if start.startswith(HDF5):
        return None
    if start.startswith(b"PK"):
        return _of_zip(path)
    if re.search(r"\.(index|data-\d+-of-\d+)$", path.name):
        return CHECKPOINT
    return next(((what, way) for pattern, what, way in FILES if pattern.match(start)), None)


def _of_zip(path: Path) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):  # the reader says what is wrong
        return None
    if {"model.weights.h5", "config.json"} & set(names):
        return None
    inside = [name for name in names if name.endswith(KERAS)]
    if inside:
        return "an archive", f"Unpack it and give {', '.join(inside[:3])}"
    if any(name.endswith("data.pkl") for name in names):
        return "a file of PyTorch", OTHER_LIBRARY
    if names and all(name.endswith(".npy") for name in names):
        return "arrays of NumPy", f"Their names are not Keras': {SAVE}"
    return f"an archive of other files ({', '.join(names[:3]) or 'none'})", "Give a .h5, .weights.h5 or .keras file"


def _of_folder(path: Path) -> tuple[str, str] | None:
    names = sorted(entry.name for entry in entries(path))
    if "keras_metadata.pb" in names:
        convert = f"import tf_keras; tf_keras.models.load_model({str(path)!r}).save('model.h5')"
        return "a SavedModel of Keras 2", f'`pip install tf_keras`, then `python -c "{convert}"`, and give model.h5'
    if "saved_model.pb" in names:
        return "a SavedModel, which runs a network and does not say of which layer its weights are", SOURCE
    if "model.json" in names and not is_remote(path) and (found := _of_file(path / "model.json")):
        return found
    inside = [name for name in names if name.endswith(KERAS)]
    if inside:
        return "a folder", f"Give the file in it: {', '.join(str(path / name) for name in inside[:3])}"
    if any(name.endswith(".index") for name in names):
        return CHECKPOINT
    return "a folder, without `checkpoints` as a run has it", "Give a .h5, .weights.h5 or .keras file, or a run"


def _of_prefix(path: Path) -> tuple[str, str] | None:
    """A checkpoint of TensorFlow goes by the name that its files have in common."""
    is_prefix = not is_remote(path) and Path(f"{path}.index").is_file()
    return CHECKPOINT if is_prefix else None
