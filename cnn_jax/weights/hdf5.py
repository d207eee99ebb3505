"""HDF5 files that come from elsewhere: nothing but their own content is read, and no more memory taken than that is.

HDF5 can point into other files (external links, external storage, virtual data sets), claim arrays of any size that
are not stored, and inflate what is compressed. Keras writes none of that.
"""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnn_jax.errors import WeightsError


@contextlib.contextmanager
def opened(source: Path | BytesIO, path: Path) -> Iterator[h5py.File]:
    """The open file; `path` is what an error names.

    Raises:
        WeightsError: a link in it leads to another file.
    """
    with h5py.File(source, "r") as file:
        found = file.visititems_links(_external)  # the first that is not None; links are not followed
        if found is not None:
            raise WeightsError(f"{path}: {found[0]} is a link to another file, {found[1]}, which is not read")
        yield file


def _external(name: str, link: Any) -> tuple[str, str] | None:
    """Name and file of a link that leads to another file."""
    return (name, link.filename) if isinstance(link, h5py.ExternalLink) else None


def array(item: Any, path: Path) -> np.ndarray:
    """The values of a data set.

    Raises:
        WeightsError: it is none, or its values are not in the file as they are.
    """
    if not isinstance(item, h5py.Dataset):
        raise WeightsError(f"{path}: {item.name} is no array")
    if item.external or item.is_virtual:
        raise WeightsError(f"{path}: the values of {item.name} are in another file, which is not read")
    if item.id.get_create_plist().get_nfilters():
        raise WeightsError(
            f"{path}: {item.name} is compressed, as Keras never does it; write the file anew with "
            "`h5repack --filter=NONE`"
        )
    if item.nbytes > item.id.get_storage_size():
        raise WeightsError(
            f"{path}: {item.name} claims {item.nbytes:,} bytes and the file holds {item.id.get_storage_size():,} of "
            "them: it is damaged, or made to fill the memory"
        )
    return np.asarray(item)
