"""Features on disk: NumPy files in the cache folder, written whole or not at all; the oldest make room."""

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import ml_dtypes
import numpy as np

from cnn_jax.cache import cache_folder
from cnn_jax.errors import RunError
from cnn_jax.files import replacing

ABANDONED_SECONDS = 3600.0
"""After so long without a write, an unfinished file is one that a killed process left behind."""


def folder() -> Path:
    """Where the files are."""
    return cache_folder() / "features"


def numpy_dtype(dtype: str) -> np.dtype:
    """By its name; NumPy itself has no bfloat16."""
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def open_features(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
    """The features in a file, read as they are used; None where it is missing or not whole."""
    try:
        array = np.lib.format.open_memmap(path, mode="r").view(numpy_dtype(dtype))  # refuses pickled objects
    except (OSError, ValueError):
        return None
    return array if array.shape == shape else None


def write(
    path: Path,
    shape: tuple[int, ...],
    dtype: str,
    rows: Iterable[np.ndarray],
    progress: Callable[[int], None],
    stopped: Callable[[], bool],
) -> bool:
    """Write a .npy file under a temporary name, then rename it: a kill leaves no file that could be taken for whole.

    NumPy's format has no bfloat16: its bits are kept as uint16. Returns False, without a file, where `stopped`.
    """
    stored = np.dtype(np.uint16) if dtype == "bfloat16" else np.dtype(dtype)
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(stored), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for part in rows:
                if stopped():
                    temporary.unlink()
                    return False
                file.write(np.ascontiguousarray(part).view(stored).data)
                progress(len(part))
    except OSError as error:
        raise RunError(
            f"the features cannot be written to {path.parent}: {error.strerror}. Make room, name another folder with "
            "CNN_JAX_CACHE, or go on with --train.feature_cache=off"
        ) from error
    return True


def make_room(needed: int, budget_megabytes: float) -> None:
    """Remove the features unused for longest until the new ones fit, and what killed processes left behind.

    Args:
        needed: bytes.
        budget_megabytes: of all files together.

    Raises:
        RunError: the folder cannot be used, or the disk has not so much left.
    """
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        for path in place.glob(".*.tmp"):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        kept = sorted(place.glob("*.npy"), key=lambda path: path.stat().st_mtime)
        used = sum(path.stat().st_size for path in kept)
        while kept and used + needed > budget_megabytes * 2**20:
            oldest = kept.pop(0)
            used -= oldest.stat().st_size
            oldest.unlink(missing_ok=True)
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise RunError(
            f"the folder {place} cannot be used for features: {error.strerror}. Mend that, name another folder with "
            "CNN_JAX_CACHE, or go on with --train.feature_cache=off"
        ) from error
    if needed > free:
        raise RunError(
            f"the features need {needed / 2**20:,.0f} MB and {place} has {free / 2**20:,.0f} MB left. Make room, name "
            "another folder with CNN_JAX_CACHE, or go on with --train.feature_cache=off"
        )
