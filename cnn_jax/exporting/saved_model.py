"""SavedModel: what TensorFlow Serving and other programs of TensorFlow run. A folder, and not a file."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from cnn_jax.errors import WeightsError
from cnn_jax.exporting.description import Description, image_size

DESCRIPTION = "cnn_jax.json"
"""In the folder, which has a place for files of others."""
GRAPH = "saved_model.pb"
MOST_BYTES = 2**28
"""Of the graph; the weights lie in other files."""

OPERATIONS = frozenset(
    [
        "Add",
        "AddV2",
        "AvgPool",
        "BiasAdd",
        "Cast",
        "Concat",
        "ConcatV2",
        "Const",
        "Conv2D",
        "DepthwiseConv2dNative",
        "Elu",
        "Erf",
        "Exp",
        "ExpandDims",
        "Fill",
        "Floor",
        "FusedBatchNormV3",
        "Gather",
        "GatherV2",
        "Identity",
        "IdentityN",
        "LeakyRelu",
        "Log",
        "Log1p",
        "MatMul",
        "Max",
        "MaxPool",
        "Maximum",
        "Mean",
        "MergeV2Checkpoints",
        "Min",
        "Minimum",
        "Mul",
        "Neg",
        "NoOp",
        "Pack",
        "PartitionedCall",
        "Placeholder",
        "Pow",
        "Prod",
        "Pad",
        "PadV2",
        "ReadVariableOp",
        "RealDiv",
        "Relu",
        "Relu6",
        "Reshape",
        "ResizeBilinear",
        "ResizeNearestNeighbor",
        "RestoreV2",
        "Rsqrt",
        "SaveV2",
        "Select",
        "SelectV2",
        "Selu",
        "Shape",
        "ShardedFilename",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Softplus",
        "Softsign",
        "Split",
        "SplitV",
        "Sqrt",
        "Square",
        "SquaredDifference",
        "Squeeze",
        "StatefulPartitionedCall",
        "StaticRegexFullMatch",
        "StopGradient",
        "StridedSlice",
        "StringJoin",
        "Sub",
        "Sum",
        "Tanh",
        "Tile",
        "Transpose",
        "VarHandleOp",
        "VarIsInitializedOp",
        "AssignVariableOp",
        "DisableCopyOnRead",
        "Unpack",
        "ZerosLike",
        "OnesLike",
        "LogSoftmax",
    ]
)
"""What a network is made of, and what TensorFlow reads its weights with. Others may write files or call Python."""


class SavedModelNetwork:
    """A SavedModel in TensorFlow, on the CPU."""

    def __init__(self, path: Path) -> None:
        """Read and prepare it.

        Raises:
            WeightsError: it cannot be run, has operations that no network is made of, or takes or gives something else
                than images and probabilities.
        """
        from cnn_jax.io.tensorflow import tf

        self.path = path
        require_harmless(path)
        try:
            self._loaded = tf().saved_model.load(str(path))
            self._function = self._loaded.signatures["serving_default"]
            taken = list(self._function.structured_input_signature[1].values())
            given = list(self._function.structured_outputs.values())
        except Exception as error:  # by what is wrong with it, of many kinds
            reason = str(error).splitlines()[0][:300] if str(error) else ""
            raise WeightsError(f"{path} cannot be run by TensorFlow: {type(error).__name__}: {reason}") from error
        shape = taken[0].shape.as_list() if len(taken) == 1 else []
        size = image_size(shape)
        if size is None or taken[0].dtype != tf().uint8 or len(given) != 1 or given[0].shape.rank != 2:
            raise WeightsError(
                f"{path} does not take images uint8[b, h, w, 3] of 0 to 255 and give probabilities [b, classes], as "
                "those of python -m cnn_jax.export do: it does not say how its images are scaled"
            )
        self._input = taken[0].name
        self.image_size, self.classes = size, int(given[0].shape[1])

    def __str__(self) -> str:
        return str(self.path)

    def probabilities(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[np.ndarray, "b classes"]:
        """Of images of 0 to 255."""
        from cnn_jax.io.tensorflow import tf

        (found,) = self._function(**{self._input: tf().constant(images)}).values()
        return found.numpy()

    def compile(self) -> None:
        """There is nothing to wait for."""


def require_harmless(path: Path) -> None:
    """Raise WeightsError where its graph has an operation that is not in `OPERATIONS`, or cannot be read."""
    from cnn_jax.io.tensorflow import tf

    tf()  # before its parts, so that it stays off accelerators
    from tensorflow.core.protobuf import saved_model_pb2

    content = (path / GRAPH).read_bytes()
    if len(content) > MOST_BYTES:
        raise WeightsError(f"{path / GRAPH} is too large for a network: {len(content):,} bytes")
    model: Any = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString(content)
    except Exception as error:  # of protobuf, whose kinds have moved
        raise WeightsError(f"{path / GRAPH} is damaged: {error}") from error
    functions: set[str] = set()
    operations: set[str] = set()
    for meta in model.meta_graphs:
        library = meta.graph_def.library.function
        functions |= {function.signature.name for function in library}
        operations |= {node.op for node in meta.graph_def.node}
        operations |= {node.op for function in library for node in function.node_def}
    others = operations - OPERATIONS - functions
    if others:
        raise WeightsError(
            f"{path} has operations that a network is not made of: {', '.join(sorted(others)[:10])}. A SavedModel is "
            "a program; one from elsewhere may write files"
        )


def described(folder: Path, description: Description) -> None:
    """Put the description into the folder."""
    (folder / DESCRIPTION).write_text(description.to_json())
