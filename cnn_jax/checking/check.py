"""The check of a whole data set: every file looked at once, by several threads, then all compared."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from cnn_jax.checking.duplicates import COLOUR_BYTES, HASH_BYTES, groups
from cnn_jax.checking.exclusion import Exclusion, choose
from cnn_jax.checking.findings import IMBALANCE, KINDS, SEVERE_IMBALANCE, Finding
from cnn_jax.checking.inspection import Facts, inspect, suffix_of
from cnn_jax.checking.listing import Listing
from cnn_jax.data.sources import UNSPLIT
from cnn_jax.io.tensorflow import tf
from cnn_jax.io.writing import is_remote

AHEAD = 16
"""Files that wait for each thread: enough for all to be busy, few enough for a million files to fit into memory."""


@dataclass(frozen=True)
class Report:
    """What is wrong with a data set."""

    listing: Listing
    findings: dict[str, tuple[Finding, ...]]
    """By kind, the worst kinds first, kinds of which nothing was found left out."""
    exclusion: Exclusion
    """What to leave out so that nothing that can be cured this way remains."""
    readable: Bool[np.ndarray, " n"]

    def count(self, severity: str) -> int:
        """Findings of this severity."""
        return sum(len(found) for kind, found in self.findings.items() if KINDS[kind].severity == severity)

    def unreadable_ids(self) -> set[str]:
        """Of the images that training cannot use."""
        return {self.listing.ids[int(index)] for index in np.flatnonzero(~self.readable)}

    def as_json(self) -> dict[str, Any]:
        """Counts by split and class, and every finding."""
        listing = self.listing
        counts = listing.counts().tolist()
        return {
            "dataset": listing.name,
            "folder": None if listing.folder is None else str(listing.folder),
            "images": len(listing),
            "splits": {
                split: dict(zip(listing.classes, row, strict=True))
                for split, row in zip(listing.splits, counts, strict=True)
            },
            **{f"{severity}s": self.count(severity) for severity in ("problem", "warning", "note")},
            "findings": [
                {
                    "kind": finding.kind,
                    "severity": KINDS[kind].severity,
                    "title": KINDS[kind].title,
                    "names": finding.names,
                    "detail": finding.detail,
                }
                for kind, found in self.findings.items()
                for finding in found
            ],
            "exclude": [listing.ids[index] for index in self.exclusion.left_out],
        }


def check(listing: Listing, progress: Callable[[int], None] = lambda images: None) -> Report:
    """Look at every image of the listing; `progress` is told of each. Nothing is written."""
    count = len(listing)
    found = list(listing.findings)
    local = None if listing.folder is None or is_remote(listing.folder) else listing.folder
    digests, marks = np.zeros(count, "V32"), np.zeros((count, HASH_BYTES + COLOUR_BYTES), np.uint8)
    compared, readable, pixels = np.zeros(count, bool), np.zeros(count, bool), np.zeros(count, np.int64)
    for index, facts in enumerate(_inspect_all(listing)):
        id_ = listing.ids[index]
        found += [Finding(kind, (id_,), detail, (index,)) for kind, detail in facts.found]
        if local is not None and os.path.islink(local / id_):
            found.append(Finding("symlink", (id_,), f"to {os.readlink(local / id_)}", (index,)))
        readable[index], pixels[index] = facts.is_readable, facts.pixels
        digests[index] = np.void(facts.digest.ljust(32, b"\0"))
        if facts.fingerprint is not None:
            compared[index], marks[index] = True, np.frombuffer(facts.fingerprint, np.uint8)
        progress(1)
    usable = np.flatnonzero(readable)
    copies = [usable[group] for group in groups(digests[usable], marks[usable], compared[usable])]
    found += [finding for group in copies for finding in _of_copies(listing, group, digests)]
    found += _of_balance(listing)
    by_kind = {kind: tuple(finding for finding in found if finding.kind == kind) for kind in KINDS}
    by_kind = {kind: members for kind, members in by_kind.items() if members}
    return Report(listing, by_kind, choose(listing, ~readable, copies, pixels), readable)


def _inspect_all(listing: Listing) -> Iterator[Facts]:
    """The facts of each file, in order; reading, hashing and decoding run beside Python."""

    def look(index: int) -> Facts:
        suffix = None if listing.folder is None else suffix_of(listing.ids[index])
        return inspect(partial(listing.read, index), suffix, listing.background)

    tf()  # once, before there are threads
    threads = os.cpu_count() or 1
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # Pillow's of damaged files: those are found
        yield from _in_order(pool, look, range(len(listing)), threads * AHEAD)


def _in_order(
    pool: ThreadPoolExecutor, look: Callable[[int], Facts], indices: Iterable[int], ahead: int
) -> Iterator[Facts]:
    """`pool.map`, with no more than `ahead` calls begun: `map` would hold a future for each file."""
    waiting: deque[Future[Facts]] = deque()
    for index in indices:
        waiting.append(pool.submit(look, index))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _of_copies(
    listing: Listing, group: Int64[np.ndarray, " m"], digests: Shaped[np.ndarray, " n"]
) -> Iterator[Finding]:
    """What it means that these images are copies of each other: one or two findings."""
    names, members = tuple(listing.ids[index] for index in group), tuple(map(int, group))
    exact = len(set(digests[group].tolist())) == 1
    alike = "the same bytes" if exact else "nearly the same picture"
    labels, splits = sorted(set(listing.label_of[group])), sorted(set(listing.split_of[group]))
    if len(splits) > 1:
        yield Finding("leak", names, f"{alike}, in {' and '.join(listing.splits[i] for i in splits)}", members)
    if len(labels) > 1:
        yield Finding("two_labels", names, f"{alike}, as {' and '.join(listing.classes[i] for i in labels)}", members)
    if len(splits) == len(labels) == 1:
        undivided = listing.splits == (UNSPLIT,)
        yield Finding("may_leak" if undivided else f"{'exact' if exact else 'near'}_duplicate", names, alike, members)


def _of_balance(listing: Listing) -> list[Finding]:
    """Whether the classes of the first split, which is trained on, have about as many images each."""
    counts = listing.counts()[0]
    there = np.flatnonzero(counts)
    if len(there) < 2:
        return []
    most, least = there[np.argmax(counts[there])], there[np.argmin(counts[there])]
    ratio = counts[most] / counts[least]
    if ratio <= IMBALANCE:
        return []
    kind = "severe_imbalance" if ratio > SEVERE_IMBALANCE else "imbalance"
    detail = f"{counts[most]:,} to {counts[least]:,} in {listing.splits[0]}, {ratio:.1f} to 1"
    return [Finding(kind, (listing.classes[most], listing.classes[least]), detail)]
