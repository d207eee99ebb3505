"""What an exported file says of itself: the classes, and how an image becomes what the network takes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from cnn_jax.config.data import Background
from cnn_jax.config.image_size import ImageSize, from_json, of_sides, sides
from cnn_jax.data.preprocess import Fit, Resize
from cnn_jax.errors import WeightsError
from cnn_jax.io.files import parse_json

KEY = "cnn_jax"
"""Under which formats that have a place for texts keep it."""
MOST_CLASSES = 100_000
MOST_PIXELS = 2**14
"""Of a side of an image."""
INTERPOLATIONS = ("bilinear", "nearest", "bicubic")


@dataclass(frozen=True)
class Description:
    """All that a program needs besides the file's own input and output."""

    name: str
    classes: tuple[str, ...]
    resize: Resize
    background: Background = "white"
    """What shows through transparent pixels."""

    def to_json(self) -> str:
        """As a text, for the file's metadata and for export.json."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        resize = asdict(self.resize)
        return {"name": self.name, "classes": list(self.classes), "resize": resize, "background": self.background}


def image_size(shape: Sequence[Any]) -> ImageSize | None:
    """The size of the images that a file's input of this shape takes, [b, h, w, 3]; None where it takes others."""
    fine = len(shape) == 4 and isinstance(shape[1], int) and isinstance(shape[2], int) and shape[3] == 3
    return of_sides(shape[1], shape[2]) if fine else None


def read(found: Any, path: Any) -> Description:
    """The description in a JSON text, or what such a text holds.

    Raises:
        WeightsError: it is none; the message names `path`.
    """
    try:
        value = parse_json(found) if isinstance(found, str | bytes) else found
        resize = value["resize"]
        classes = tuple(value["classes"])
        size = from_json(resize["size"])
        fine = (
            isinstance(value["name"], str)
            and 0 < len(classes) <= MOST_CLASSES
            and all(isinstance(name, str) for name in classes)
            and all(type(side) is int and 0 < side <= MOST_PIXELS for side in sides(size))
            and resize["fit"] in get_args(Fit)
            and resize["interpolation"] in INTERPOLATIONS
            and type(resize["antialias"]) is bool
            and value["background"] in get_args(Background)
        )
        if not fine:
            raise ValueError("a field has an impossible value")
        how = Resize(size, resize["fit"], resize["interpolation"], resize["antialias"])
        return Description(value["name"], classes, how, value["background"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WeightsError(f"{path}: what it says of its classes and images cannot be read: {error}") from error
