"""Which images to leave out, as a list that `data.exclude` takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from cnn_jax.checking.listing import Listing
from cnn_jax.errors import DataError

KEPT_FIRST = ("test", "validation")
"""Of a picture in several splits, the copy in the first of these is kept: what is measured should not change."""


@dataclass(frozen=True)
class Exclusion:
    """What to leave out."""

    left_out: tuple[int, ...]
    """Numbers in the listing, rising."""
    emptied: tuple[tuple[str, str], ...]
    """Split and class of which nothing would be left; where it is trained on, training refuses such a list."""


def choose(
    listing: Listing,
    unreadable: Bool[np.ndarray, " n"],
    copies: Sequence[Int64[np.ndarray, " _"]],
    pixels: Int64[np.ndarray, " n"],
) -> Exclusion:
    """Leave out what cannot be read, all copies of a picture with two labels, and of others all but one copy.

    The copy that stays is in the test split where there is one, else in validation; among those it is the one with the
    most pixels, and of equals the first.

    Args:
        unreadable: whether an image cannot be read.
        copies: groups of images that are one picture.
        pixels: of each image.
    """
    left_out = unreadable.copy()
    rank = np.asarray([KEPT_FIRST.index(s) if s in KEPT_FIRST else len(KEPT_FIRST) for s in listing.splits])
    for group in copies:
        left_out[group] = True
        if len(set(listing.label_of[group])) == 1:
            order = np.lexsort((group, -pixels[group], rank[listing.split_of[group]]))
            left_out[group[order[0]]] = False
    before, after = listing.counts(), np.zeros((len(listing.splits), len(listing.classes)), np.int64)
    np.add.at(after, (listing.split_of[~left_out], listing.label_of[~left_out]), 1)
    emptied = tuple(
        (listing.splits[split], listing.classes[label]) for split, label in np.argwhere((before > 0) & (after == 0))
    )
    return Exclusion(tuple(map(int, np.flatnonzero(left_out))), emptied)


def as_text(listing: Listing, exclusion: Exclusion) -> bytes:
    """An id a line; bytes of names that are no UTF-8 stay what they are.

    Raises:
        DataError: a name with a line break, which no line can hold.
    """
    ids = [listing.ids[index] for index in exclusion.left_out]
    for id_ in ids:
        if "\n" in id_:
            raise DataError(f"{id_!r} has a line break in its name, so no list can name it: rename or remove it")
    return "".join(f"{id_}\n" for id_ in ids).encode("utf-8", "surrogateescape")
