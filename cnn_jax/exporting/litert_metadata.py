"""The description of a LiteRT file that Google's own tools read: MediaPipe Tasks, Android Studio, Model Explorer.

A flatbuffer of their schema `metadata_schema.fbs`, in the file's metadata under `NAME`. The names of the classes lie in
a file of the zip at the end of the model; the description says which one it is. No library that is installed writes
it, so each table is put together here, by the numbers of its fields in that schema.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn_jax.exporting.description import Description

NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
"""Of the schema, at byte 4."""
PARSER = "1.0.0"
"""The oldest version of their reader that knows these fields."""
AXIS_LABELS = 2
"""Kind of an associated file: a class a line, in the order of the probabilities."""
FEATURE_PROPERTIES, IMAGE_PROPERTIES, RGB = 1, 2, 1


def metadata(description: Description, labels: str) -> bytes:
    """The flatbuffer.

    Args:
        labels: the name of the file in the zip.
    """
    from flatbuffers import Builder

    builder = Builder(1024)
    size = ("Uint32", description.resize.size)
    pixels = _table(builder, {0: ("Int8", RGB), 1: _table(builder, {0: size, 1: size})})
    resized = f"RGB bytes of 0 to 255, resized as in training: {description.resize}"
    image = _tensor(builder, "image", resized, (IMAGE_PROPERTIES, pixels), 255.0)
    file = _table(builder, {0: builder.CreateString(labels), 2: ("Int8", AXIS_LABELS)})
    kinds = (FEATURE_PROPERTIES, _table(builder, {}))
    scores = _tensor(builder, "probability", "of each class, in the order of the labels", kinds, 1.0, [file])
    graph = _table(builder, {2: _vector(builder, [image]), 3: _vector(builder, [scores])})
    root = {0: builder.CreateString(description.name), 3: _vector(builder, [graph]), 7: builder.CreateString(PARSER)}
    builder.Finish(_table(builder, root), IDENTIFIER)
    return bytes(builder.Output())


def _tensor(
    builder: Any, name: str, text: str, content: tuple[int, int], largest: float, files: Sequence[int] = ()
) -> int:
    """`TensorMetadata` of values from 0 to `largest`.

    Args:
        content: the kind of the union `ContentProperties`, and its table.
        files: tables `AssociatedFile`.
    """
    most, least = (builder.CreateNumpyVector(np.asarray([end], np.float32)) for end in (largest, 0.0))
    fields = {
        0: builder.CreateString(name),
        1: builder.CreateString(text),
        3: _table(builder, {0: ("Uint8", content[0]), 1: content[1]}),
        5: _table(builder, {0: most, 1: least}),
    }
    return _table(builder, {**fields, 6: _vector(builder, files)} if files else fields)


def _table(builder: Any, fields: dict[int, Any]) -> int:
    """A table of offsets, and of numbers with their types, by the number of the field."""
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, value in fields.items():
        if isinstance(value, tuple):
            kind, number = value
            getattr(builder, f"Prepend{kind}Slot")(slot, number, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    return builder.EndObject()


def _vector(builder: Any, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for offset in reversed(tables):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
