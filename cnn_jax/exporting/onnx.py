"""ONNX: what servers, browsers and most other programs run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from cnn_jax.errors import WeightsError
from cnn_jax.exporting.description import KEY, Description, image_size

INPUT, OUTPUT = "images", "probabilities"
LARGEST_FILE = 2**31
"""Bytes: what protobuf allows of one file."""


class OnnxNetwork:
    """An .onnx file in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path) -> None:
        """Read and prepare it.

        Raises:
            WeightsError: the file cannot be run, or takes or gives something else than images and probabilities.
        """
        self.path = path
        self._session = _session(path)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        given = outputs[0].shape if len(outputs) == 1 else []
        size = image_size(shape)
        if size is None or inputs[0].type != "tensor(uint8)" or len(given) != 2 or not isinstance(given[1], int):
            raise WeightsError(
                f"{path} does not take images uint8[b, h, w, 3] of 0 to 255 and give probabilities [b, classes], as "
                "the files of python -m cnn_jax.export do: it does not say how its images are scaled"
            )
        self._input = inputs[0].name
        self.image_size, self.classes = size, given[1]

    def __str__(self) -> str:
        return str(self.path)

    def probabilities(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b classes"]:
        """Of images of 0 to 255."""
        if not len(images):
            return np.zeros((0, self.classes), np.float32)
        return self._session.run(None, {self._input: images})[0]

    def compile(self) -> None:
        """There is nothing to wait for."""

    @property
    def description(self) -> str | None:
        """The text that `described` put there; None where there is none."""
        return self._session.get_modelmeta().custom_metadata_map.get(KEY)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError(
            f"{path} runs in ONNX Runtime, which is not installed: pip install 'cnn_jax[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it warns of, it also raises
    content = path.read_bytes()
    if len(content) >= LARGEST_FILE:
        raise WeightsError(f"{path} is too large for an ONNX file: {len(content):,} bytes")
    try:
        # from memory: without a folder, there is nothing that the file could name as the place of its arrays
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds, which it does not export
        raise WeightsError(f"{path} cannot be run by ONNX Runtime: {str(error).splitlines()[0][:300]}") from error


def described(content: bytes, description: Description) -> bytes:
    """The file with a description in its metadata, and the names of the classes as a list that JavaScript reads too."""
    import onnx

    model = onnx.load_model_from_string(content)
    classes = json.dumps(list(description.classes))
    onnx.helper.set_model_props(model, {KEY: description.to_json(), "classes": classes})
    return model.SerializeToString()
