"""The table of formats. Nothing here imports a library: the table is also read before any is needed."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cnn_jax.errors import ConfigError

FormatName = Literal["litert", "litert-float16", "litert-int8", "onnx", "saved-model", "keras", "keras-h5", "stablehlo"]


@dataclass(frozen=True)
class Format:
    """One way in which a network leaves this package."""

    suffix: str
    """What follows the run's name; of SavedModel, which is a folder, too."""
    runtime: str
    """What runs the file."""
    modules: tuple[str, ...]
    """What has to be installed to write and to check it."""
    extra: str
    """The extra of this package that brings the modules."""
    tolerance: float | None
    """The largest difference of a probability from the run's that is no fault; None: accuracy decides, not digits."""
    usage: str
    """A line of Python that classifies `images`; {path} is the file."""


ROUNDING = 1e-4
"""Of float32: sums in another order give 1e-7 to 1e-5, and what is computed in another way 1e-3 and more."""
HALF_ROUNDING = 5e-2
"""Of weights in float16, which keep 11 bits: each is off by up to 2**-12 of itself. A logit is a sum of thousands of
such products through a few dozen layers, where errors of either sign largely cancel; a logit of 20 that is off by 2**-9
of itself moves a probability of 0.5 by 0.01. MobileNets were measured at 0.003 and 0.018; more is a fault."""

_LITERT = ("ai_edge_litert", "tensorflow", "keras")
_LITERT_USAGE = "cnn_jax.load({path!r})(images), or ai_edge_litert.interpreter.Interpreter({path!r})"
_KERAS_USAGE = "keras.models.load_model({path!r}, compile=False).predict(images)"

FORMATS: dict[FormatName, Format] = {
    "litert": Format(".tflite", "LiteRT", _LITERT, "litert", ROUNDING, _LITERT_USAGE),
    "litert-float16": Format("-float16.tflite", "LiteRT", _LITERT, "litert", HALF_ROUNDING, _LITERT_USAGE),
    "litert-int8": Format("-int8.tflite", "LiteRT", _LITERT, "litert", None, _LITERT_USAGE),
    "onnx": Format(
        ".onnx",
        "ONNX Runtime",
        ("onnx", "onnxruntime", "tf2onnx", "tensorflow", "keras"),
        "onnx",
        ROUNDING,
        "onnxruntime.InferenceSession({path!r}).run(None, {{'images': images}})",
    ),
    "saved-model": Format(
        "-saved-model",
        "TensorFlow",
        ("tensorflow", "keras"),
        "",
        ROUNDING,
        "model = tensorflow.saved_model.load({path!r}); model.serve(images)['probabilities']",
    ),
    "keras": Format(".keras", "Keras", ("keras",), "", ROUNDING, _KERAS_USAGE),
    "keras-h5": Format(".h5", "Keras", (), "", ROUNDING, _KERAS_USAGE),
    "stablehlo": Format(
        ".stablehlo",
        "JAX",
        (),
        "",
        ROUNDING,
        "jax.export.deserialize(bytearray(pathlib.Path({path!r}).read_bytes())).call(images)",
    ),
}


RUNTIME_SUFFIXES = (".tflite", ".onnx", ".stablehlo")
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")


def require_libraries(names: Sequence[FormatName]) -> None:
    """ConfigError where what writes or runs one of these formats is not installed; all that is missing is named."""
    missing: dict[str, list[FormatName]] = {}
    for name in names:
        for module in FORMATS[name].modules:
            if importlib.util.find_spec(module) is None:
                missing.setdefault(module, []).append(name)
    if missing:
        extras = sorted({FORMATS[name].extra for names in missing.values() for name in names} - {""})
        install = f"'cnn_jax[{','.join(extras)}]'" if extras else " ".join(sorted(missing))
        wanted = "; ".join(f"{module} for {', '.join(names)}" for module, names in missing.items())
        raise ConfigError(f"not installed: {wanted}. Install: pip install {install}")


def file_name(stem: str, name: FormatName) -> str:
    """What a file of this format is called where no name is given."""
    return f"{stem}{FORMATS[name].suffix}"


def is_exported(path: Path) -> bool:
    """Whether it may be a file that is run by a runtime of its own: by its name, or as a folder by what is in it."""
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    return path.suffix in RUNTIME_SUFFIXES
