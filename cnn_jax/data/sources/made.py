"""Data sets that need no file: scikit-learn's digits, and shapes that are drawn as they are needed."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Num

from cnn_jax.data.sources import shapes
from cnn_jax.data.sources.dataset import UNSPLIT, Dataset, Split
from cnn_jax.data.sources.images import ArrayImages, DrawnImages
from cnn_jax.data.sources.names import Names


def open_digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8x8 pixels of 0 to 16, brought to 0 to 255."""
    values, labels = _digits()
    pixels = np.round(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)[..., None]
    ids = tuple(f"digits/{i:04d}" for i in range(len(pixels)))
    split = Split(ids, labels.astype(np.int32), ArrayImages(pixels))
    return Dataset("digits", tuple(map(str, range(10))), {UNSPLIT: split})


def _digits() -> tuple[Float64[np.ndarray, "n 64"], Num[np.ndarray, " n"]]:
    """Values of 0 to 16, and labels: from scikit-learn's file, since its import takes half a second."""
    found = importlib.util.find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            rows = np.loadtxt(path, delimiter=",")
            return rows[:, :-1], rows[:, -1]
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def open_shapes(examples: int, size: int, seed: int) -> Dataset:
    """Pictures of `cnn_jax.data.sources.shapes`, as many of each class; the classes take turns."""
    numbers = np.arange(examples)
    ids = Names.of(f"shapes/{seed}/{i}" for i in numbers)
    images = DrawnImages(functools.partial(shapes.draw, size, seed), size, numbers, f"shapes/{seed}")
    labels = (numbers % len(shapes.CLASSES)).astype(np.int32)
    return Dataset("shapes", shapes.CLASSES, {UNSPLIT: Split(ids, labels, images)})
