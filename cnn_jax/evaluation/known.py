"""Whether an image is of any of the classes: how far its features are from those of the training images.

Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest Neighbors" (ICML 2022): the distance to the k-th
nearest training image, among features of length 1. What is farther than nearly all validation images is taken for
something else.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Float64

from cnn_jax.errors import RunError
from cnn_jax.evaluation.record import read_arrays
from cnn_jax.io.writing import write_atomically

FILE = "features.npz"
NEIGHBOUR = 10
"""k; of fewer training images, the farthest."""
ROWS = 256
"""Images whose distances are computed at a time."""


@dataclass(frozen=True)
class Known:
    """The features of images that are of the classes."""

    features: Float32[np.ndarray, "n d"]
    """Of length 1: the training images, or some of them."""
    distances: Float64[np.ndarray, " m"]
    """Of the validation images, rising."""
    content: str
    """The hash of the network that they are from."""

    @classmethod
    def of(cls, training: Float[np.ndarray, "n d"], validation: Float[np.ndarray, "m d"], content: str) -> "Known":
        """From the features of training and validation images."""
        begun = cls(unit(training), np.zeros(0), content)
        return cls(begun.features, np.sort(begun.distance(validation)), content)

    def distance(self, features: Float[np.ndarray, "b d"]) -> Float64[np.ndarray, " b"]:
        """How far images are from what is known, 0 to 2."""
        place = min(NEIGHBOUR, len(self.features)) - 1
        found = []
        for start in range(0, len(features), ROWS):
            cosines = unit(features[start : start + ROWS]) @ self.features.T
            nearest = np.partition(-cosines, place, axis=1)[:, place]
            found.append(np.sqrt(np.maximum(2 + 2 * nearest.astype(np.float64), 0)))
        return np.concatenate(found) if found else np.zeros(0)

    def limit(self, share: float) -> float:
        """The distance within which so large a share of the validation images is."""
        return float(np.quantile(self.distances, share))

    def write(self, folder: Path) -> Path:
        """Keep it beside a run; returns the file."""
        content = io.BytesIO()
        np.savez(content, features=self.features, distances=self.distances, content=np.asarray([self.content]))
        write_atomically(folder / FILE, content.getvalue())
        return folder / FILE


def read(folder: Path, content: str) -> Known:
    """What lies beside a run, whose network has this hash.

    Raises:
        RunError: it is not there, cannot be read, or is of another checkpoint; the message says which command makes it.
    """
    path, make = folder / FILE, f"make it with python -m cnn_jax.evaluate --checkpoint={folder} --features"
    try:
        features, distances, owner = read_arrays(path, ("features", "distances", "content")).values()
    except FileNotFoundError as error:
        raise RunError(f"--other: {path} is not there: {make}") from error
    except (OSError, ValueError) as error:
        raise RunError(f"--other: {path} cannot be read ({error}): {make}") from error
    kinds = (features.dtype, features.ndim, distances.dtype, distances.ndim, owner.shape, owner.dtype.kind)
    whole = kinds == (np.float32, 2, np.float64, 1, (1,), "U") and features.size and len(distances)
    if not whole or not np.isfinite(features).all() or not np.isfinite(distances).all():
        raise RunError(f"--other: {path} is damaged: {make}")
    if owner[0] != content:
        raise RunError(f"--other: {path} is of another checkpoint: {make}")
    return Known(features, distances, content)


def unit(features: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Each row at length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(features.astype(np.float32), axis=1, keepdims=True)
    return (features / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
