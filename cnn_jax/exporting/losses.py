"""Which layers of an int8 file lose most: its tensors against those of the float32 file of the same network."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from cnn_jax.exporting.litert import layer_of

SHOWN = 3
IMAGES = 16
"""Each runs with all tensors kept, in both files."""


@dataclass(frozen=True)
class Loss:
    """What a layer adds to the error."""

    layer: str
    share: float
    """The root of the mean squared error of its output, as a share of the output's standard deviation."""
    added: float
    """That share, less the largest one among its inputs."""


def by_layer(exact: Path, rounded: Path, images: UInt8[np.ndarray, "n h w 3"]) -> list[Loss]:
    """The layers whose outputs have more error than their inputs, the largest addition first.

    Args:
        exact: the file in float32.
        rounded: the file in int8 of the same network; the converter gives its tensors the same names.
        images: the first `IMAGES` of them are run.
    """
    first, second = _Tensors(exact), _Tensors(rounded)
    names = [name for name in first.made if name in second.made and "/" in name]  # those of layers
    squared, sums, squares = (dict.fromkeys(names, 0.0) for _ in range(3))
    counts = dict.fromkeys(names, 0)
    for image in images[:IMAGES]:
        expected, found = first.run(image, names), second.run(image, names)
        for name in names:
            squared[name] += float(np.square(found[name] - expected[name]).sum())
            sums[name] += float(expected[name].sum())
            squares[name] += float(np.square(expected[name]).sum())
            counts[name] += expected[name].size
    shares = {}
    for name in names:
        variance = squares[name] / counts[name] - (sums[name] / counts[name]) ** 2
        shares[name] = float(np.sqrt(squared[name] / counts[name] / max(variance, 1e-12)))
    losses = []
    for name in names:
        before = max((shares.get(source, 0.0) for source in first.made[name]), default=0.0)
        losses.append(Loss(layer_of(name), shares[name], shares[name] - before))
    return sorted(losses, key=lambda loss: -loss.added)


class _Tensors:
    """A file that keeps all of its tensors."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.interpreter import Interpreter

        content = path.read_bytes()
        with warnings.catch_warnings(action="ignore"):  # that it takes memory
            self._interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
        self._interpreter.allocate_tensors()
        graph = schema.ModelT.InitFromPackedBuf(bytearray(content), 0).subgraphs[0]
        names = [tensor.name.decode() for tensor in graph.tensors]
        self.made: dict[str, list[str]] = {}
        """The name of each operation's output, with the names of its inputs."""
        for operation in graph.operators:
            for output in operation.outputs:
                self.made[names[output]] = [names[i] for i in operation.inputs if i >= 0]
        self._details: dict[str, Any] = {d["name"]: d for d in self._interpreter.get_tensor_details()}

    def run(self, image: UInt8[np.ndarray, "h w 3"], names: list[str]) -> dict[str, Float64[np.ndarray, "..."]]:
        """The tensors of these names for one image."""
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], image[None])
        self._interpreter.invoke()
        return {name: self._value(self._details[name]) for name in names}

    def _value(self, detail: dict[str, Any]) -> Float64[np.ndarray, "..."]:
        value = self._interpreter.get_tensor(detail["index"]).astype(np.float64)
        scale, zero = detail["quantization"]
        return (value - zero) * scale if scale else value
