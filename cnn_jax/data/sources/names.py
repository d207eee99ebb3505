"""Many strings in little memory: the names of a million files."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from jaxtyping import Int64


class Names(Sequence[str]):
    """Strings as ranges of one block of bytes, which any selection of them shares.

    A name takes its own length and 16 bytes; a tuple of `str` takes 57 bytes a name on top of its length.
    """

    def __init__(self, block: bytes, starts: Int64[np.ndarray, " n"], lengths: Int64[np.ndarray, " n"]) -> None:
        """Each name is `lengths[i]` bytes of UTF-8 from `starts[i]` on."""
        self.block, self.starts, self.lengths = block, starts, lengths

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        """These strings; bytes of paths that are not UTF-8 are kept (as `os.fsdecode` gives them)."""
        block, counts = bytearray(), array("q")
        for name in names:
            encoded = name.encode("utf-8", "surrogateescape")
            block += encoded
            counts.append(len(encoded))
        lengths = np.frombuffer(counts, np.int64)
        return cls(bytes(block), np.cumsum(lengths) - lengths, lengths)

    def take(self, indices: Int64[np.ndarray, " m"]) -> "Names":
        """Only these, in this order."""
        return Names(self.block, self.starts[indices], self.lengths[indices])

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Names": ...

    def __getitem__(self, index: int | slice) -> "str | Names":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        start = int(self.starts[index])
        return self.block[start : start + int(self.lengths[index])].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Names.of({list(self[:3])}{' and more' if len(self) > 3 else ''})"
