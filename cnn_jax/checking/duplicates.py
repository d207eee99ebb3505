"""Copies of a picture among many: by a perceptual hash, found without comparing each with each.

The hash has 255 bits: whether each of the 16 x 16 lowest frequencies of the picture's brightness, but the mean, is
above their median (C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, there with
64 bits). Scaling and compression flip few of them. Colours are compared apart: equal shapes may differ in nothing else.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8, UInt16

SIDE = 32
"""Pixels to which a picture is scaled."""

LOWEST = 16
"""Frequencies across and down."""

NEAR = 31
"""Bits of 255 that may differ. docs/check-data.md has the counts by which it was chosen."""

BANDS = LOWEST
"""Parts of the hash, of 16 bits each. Two hashes that differ by at most 31 bits differ by at most one in some part."""

SAME_COLOUR = 8.0
"""Mean difference of the colour channels Cb and Cr, in steps of 255, up to which colours count as the same."""

GREY = 3
"""Steps from the middle up to which Cb and Cr are no colour: a picture and its greyscale copy are the same."""

HASH_BYTES, COLOUR_BYTES = LOWEST * LOWEST // 8, 4 * 4 * 2
CHUNK = 1 << 21
"""Pairs that are compared at a time."""

_WAVES = np.cos(np.pi / SIDE * (np.arange(SIDE) + 0.5) * np.arange(LOWEST)[:, None])
"""Discrete cosine transform of type II, [frequency, pixel]. Its scale is that of the mean alone, which is left out."""


def fingerprint(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The hash of a picture, and the colours of its 4 x 4 parts: `HASH_BYTES` and `COLOUR_BYTES`."""
    from PIL import Image

    small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("YCbCr")
    frequencies = (_WAVES @ np.asarray(small, np.float64)[..., 0] @ _WAVES.T).ravel()[1:]
    bits = np.packbits(frequencies > np.median(frequencies))
    return bits.tobytes() + np.asarray(small.reduce(SIDE // 4))[..., 1:].tobytes()


def groups(
    digests: Shaped[np.ndarray, " n"], fingerprints: UInt8[np.ndarray, "n bytes"], compared: Bool[np.ndarray, " n"]
) -> list[Int64[np.ndarray, " m"]]:
    """Images that are copies of each other, at least two in a group, by numbers in rising order.

    Copies of copies are in one group, though its ends may differ by more than `NEAR`.

    Args:
        digests: void of 32 bytes, SHA-256 of the content; images of equal content are copies.
        fingerprints: HASH_BYTES + COLOUR_BYTES of each.
        compared: whether the fingerprint counts.
    """
    edges = [_equal(digests, np.arange(len(digests)))]
    numbers = np.flatnonzero(compared)
    marks = np.ascontiguousarray(fingerprints[numbers])
    rows = marks.view(f"V{marks.shape[1]}").ravel()
    edges.append(_equal(rows, numbers))
    first = np.unique(rows, return_index=True)[1]
    pairs = [numbers[first[pair]] for pair in near_pairs(marks[first])]
    return _components(len(digests), np.concatenate([*edges, *pairs]))


def _equal(values: Shaped[np.ndarray, " n"], numbers: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "pairs 2"]:
    """Pairs of neighbours among the numbers that have the same value."""
    order = np.argsort(values, kind="stable")
    same = values[order[1:]] == values[order[:-1]]
    return np.stack([numbers[order[:-1][same]], numbers[order[1:][same]]], axis=1)


def _components(count: int, edges: Int64[np.ndarray, "pairs 2"]) -> list[Int64[np.ndarray, " _"]]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    touched, ends = np.unique(edges, return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(touched), len(touched)))
    _, component = connected_components(graph, directed=False)
    order = np.argsort(component, kind="stable")
    found = np.split(touched[order], np.flatnonzero(np.diff(component[order])) + 1) if len(order) else []
    return sorted(found, key=lambda members: int(members[0]))


def near_pairs(marks: UInt8[np.ndarray, "n bytes"]) -> Iterator[Int64[np.ndarray, "pairs 2"]]:
    """Pairs of different fingerprints that count as one picture, some of them more than once.

    Multi-index hashing (Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012):
    hashes are looked up by each of their parts, as it is and with each of its bits turned. No pair is missed, and only
    those that agree so far are compared.
    """
    if len(marks) < 2:
        return
    hashes = np.ascontiguousarray(marks[:, :HASH_BYTES])
    bits, colours = hashes.view(np.uint64), marks[:, HASH_BYTES:]
    for part in hashes.view(np.uint16).T:
        for left, right in _candidates(part):
            close = np.bitwise_count(bits[left] ^ bits[right]).sum(1) <= NEAR
            left, right = left[close], right[close]
            same = _same_colour(colours[left], colours[right])
            yield np.stack([left[same], right[same]], axis=1)


def _candidates(
    part: UInt16[np.ndarray, " n"],
) -> Iterator[tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]]:
    """Numbers of values that differ in at most one bit, each pair once, `CHUNK` or so at a time."""
    order = np.argsort(part, kind="stable")
    counts = np.bincount(part, minlength=1 << 16)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(part), np.int64)
    place[order] = np.arange(len(part))
    for turned in (0, *(1 << bit for bit in range(16))):
        left = np.flatnonzero(part & turned == 0)
        partner = part[left] ^ turned
        begin = starts[partner] if turned else place[left] + 1
        many = starts[partner] + counts[partner] - begin
        bounds = np.flatnonzero(np.diff(np.cumsum(many) // CHUNK)) + 1
        for here, first, number in zip(*(np.split(values, bounds) for values in (left, begin, many)), strict=True):
            within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
            yield np.repeat(here, number), order[np.repeat(first, number) + within]


def _same_colour(
    one: UInt8[np.ndarray, "pairs bytes"], other: UInt8[np.ndarray, "pairs bytes"]
) -> Bool[np.ndarray, " pairs"]:
    """Of `COLOUR_BYTES` each."""
    one, other = one.astype(np.int16), other.astype(np.int16)
    grey = (np.abs(one - 128).max(1) <= GREY) | (np.abs(other - 128).max(1) <= GREY)
    return grey | (np.abs(one - other).mean(1) <= SAME_COLOUR)
