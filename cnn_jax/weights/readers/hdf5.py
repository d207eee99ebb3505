"""HDF5 files that come from elsewhere: nothing but their own content is read, and no more memory taken than that is.

They are read in Python, by pyfive: made-up files corrupt the memory of a process in which HDF5's own library reads
them. Only what Keras writes is taken: plain arrays of floats in one piece, groups, and attributes that are text. HDF5
can also point into other files, claim arrays of any size that are not stored, and inflate what is compressed.
"""

import contextlib
import math
import struct
from collections.abc import Collection, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from jaxtyping import Float

from cnn_jax.errors import WeightsError

if TYPE_CHECKING:
    from cnn_jax.weights.readers.bounded import Objects

DATASPACE, DATATYPE, OTHER_FILES = 1, 3, 7
"""The messages that tell of an array; the last names the files that have its values."""
COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL = range(4)
"""Where the values are: beside the description, in one piece, in chunks (compressed or not), in other arrays."""
NOT_STORED = 2**64 - 1
"""The address of values that were never written."""


def _ieee(exponent: int, mantissa: int, big_endian: int) -> bytes:
    """HDF5's description of a float as IEEE 754 has it, after the byte that says that it is a float."""
    bits = 1 + exponent + mantissa
    layout = struct.pack("<HHBBBBI", 0, bits, mantissa, exponent, 0, mantissa, 2 ** (exponent - 1) - 1)
    return struct.pack("<BBBI", 0x20 + big_endian, bits - 1, 0, bits // 8) + layout


FLOATS: dict[bytes, np.dtype] = {}
for _exponent, _mantissa in ((5, 10), (8, 23), (11, 52)):
    for _order, _flag in (("<", 0), (">", 1)):
        FLOATS[_ieee(_exponent, _mantissa, _flag)] = np.dtype(f"{_order}f{(1 + _exponent + _mantissa) // 8}")
"""Other floats of these sizes, such as bfloat16, would be read as other numbers."""


@contextlib.contextmanager
def opened(source: Path | BytesIO, path: Path) -> Iterator["Group"]:
    """The outermost group of the file; `path` is what an error names.

    Raises:
        WeightsError: it is not HDF5, truncated, or a link in the outermost group leads to another file.
    """
    from cnn_jax.weights.readers import bounded  # pyfive takes a fifth of a second to import

    with contextlib.ExitStack() as stack:
        file: BinaryIO = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        yield Group("/", bounded.root(bounded.Source(file, path)))


class Group(Mapping[str, "Group | Array"]):
    """Groups and arrays by name; `group["a/b"]` is `group["a"]["b"]`."""

    def __init__(self, name: str, objects: "Objects") -> None:
        self.name = name
        self._objects = objects
        self.path: Path = objects.fh.path
        self._links: dict[str, int | str] = objects.get_links()
        if any(not member or "/" in member for member in self._links):
            raise WeightsError(f"{self.path}: the names of what is in {name} are damaged; fetch the file again")
        self._members: dict[str, Group | Array] = {}

    def __getitem__(self, path: str) -> "Group | Array":
        name, _, rest = path.partition("/")
        if name not in self._members:
            self._members[name] = self._read(name)
        member = self._members[name]
        if not rest:
            return member
        if isinstance(member, Array):
            raise KeyError(path)
        return member[rest]

    def group(self, name: str) -> "Group":
        """The member, which has to be a group."""
        member = self[name]
        if isinstance(member, Array):
            raise WeightsError(f"{self.path}: {member.name} is an array where Keras has a group")
        return member

    def __contains__(self, name: object) -> bool:
        return name in self._links

    def __iter__(self) -> Iterator[str]:
        return iter(self._links)

    def __len__(self) -> int:
        return len(self._links)

    def _read(self, name: str) -> "Group | Array":
        whole = f"{self.name.rstrip('/')}/{name}"
        if name not in self._links:
            raise KeyError(f"it has no {whole}")
        target = self._links[name]
        if isinstance(target, str):
            raise WeightsError(f"{self.path}: {whole} is a link by name, to {target}, as Keras never writes it")
        objects = type(self._objects)(self._objects.fh, target, self._objects.heaps)
        return Array(whole, objects) if objects.is_dataset else Group(whole, objects)

    @property
    def attributes(self) -> Collection[str]:
        """The names of the attributes."""
        return self._objects.get_attributes()

    def texts(self, attribute: str) -> list[str] | None:
        """The texts that an attribute is made of, in order; None if there is no such attribute.

        Raises:
            WeightsError: it is not text.
        """
        attributes = self._objects.get_attributes()
        if attribute not in attributes:
            return None
        value: Any = attributes[attribute]
        items = value.ravel().tolist() if isinstance(value, np.ndarray) else [value]
        if not all(isinstance(item, bytes) for item in items):
            raise WeightsError(f"{self.path}: the attribute {attribute} of {self.name} is no text")
        for item in items:
            self._objects.fh.charge(len(item))
        return [item.decode() for item in items]


class Array:
    """An array that was not read yet."""

    def __init__(self, name: str, objects: "Objects") -> None:
        self.name = name
        self._objects = objects
        self.path: Path = objects.fh.path

    @property
    def address(self) -> int:
        """Where the file describes it: the same for all names of an array."""
        return self._objects.offset

    def values(self) -> Float[np.ndarray, "..."]:
        """The values.

        Raises:
            WeightsError: they are not floats, or not in the file as they are.
        """
        shape, dtype = self._shape(), self._dtype()
        where, held = self._stored()
        claimed = math.prod(shape) * dtype.itemsize
        if claimed != held:
            raise WeightsError(
                f"{self.path}: {self.name} claims {claimed:,} bytes and the file holds {held:,} of them: it is "
                "damaged, or made to fill the memory"
            )
        if isinstance(where, bytearray):
            return np.frombuffer(where, dtype).reshape(shape)
        return self._objects.fh.array(where, shape, dtype)

    def _shape(self) -> tuple[int, ...]:
        self._objects.message(DATASPACE)
        shape = self._objects.shape
        if shape is None:
            raise WeightsError(f"{self.path}: {self.name} has no values")
        return shape

    def _dtype(self) -> np.dtype:
        start = self._objects.message(DATATYPE)
        kind = b"" if start is None else bytes(self._objects.msg_data[start : start + 20])
        is_float = kind[:1] and kind[0] & 15 == 1
        if not is_float or kind[1:] not in FLOATS:
            raise WeightsError(
                f"{self.path}: {self.name} does not hold floats of 16, 32 or 64 bits, but bfloat16 or another kind: in "
                "Keras, build the network under the policy float32, load these weights into it, and save that"
            )
        return FLOATS[kind[1:]]

    def _stored(self) -> tuple[int | bytearray, int]:
        """Where the values begin, or the values themselves, and how many bytes of them the file holds.

        Raises:
            WeightsError: they are compressed, in chunks or elsewhere.
        """
        objects = self._objects
        _, layout, start = objects.get_id_storage_params()
        if layout == VIRTUAL or objects.message(OTHER_FILES) is not None:
            raise WeightsError(f"{self.path}: the values of {self.name} are in another file, which is not read")
        if layout == CHUNKED:
            raise WeightsError(
                f"{self.path}: {self.name} is compressed or in chunks, as Keras never writes it; write the file anew "
                "with `h5repack --layout=CONTI --filter=NONE`"
            )
        if layout == COMPACT:
            (size,) = struct.unpack_from("<H", objects.msg_data, start)
            values = bytearray(objects.msg_data[start + 2 : start + 2 + size])
            objects.fh.charge(size)
            return values, len(values)
        address, size = struct.unpack_from("<QQ", objects.msg_data, start)
        held = 0 if address == NOT_STORED else min(size, max(0, objects.fh.size - address))
        return address, held
