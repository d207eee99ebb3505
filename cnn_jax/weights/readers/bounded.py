"""pyfive, which reads HDF5 in Python alone, under limits: a made-up file costs no more memory and time than they allow.

pyfive follows what a file says: headers that continue in themselves, trees that lead in circles, thousands of names
that are all one stretch of a megabyte. Every such walk goes through a read of `Source` or a method of `Objects`, and
these count. Kinds of attributes that Keras never writes are not taken apart at all.
"""

import math
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numcodecs.checksum32 import JenkinsLookup3
from pyfive.btree import BTreeV1Groups
from pyfive.core import _padded_size
from pyfive.dataobjects import DataObjects
from pyfive.misc_low_level import FORMAT_SIGNATURE, SUPERBLOCK_V2_V3_SIZE, Heap, SuperBlock, SymbolTable
from pyfive.p5t import P5VlenStringType

from cnn_jax.errors import WeightsError

MOST_BYTES = 2**27
"""Memory for the description of the arrays, about; 4,500 arrays of 1,500 layers take a quarter of it."""
MOST_HEADER_BYTES = 2**21
"""The header of one group or array, which pyfive takes apart as a whole."""
MOST_SECONDS = 60.0
"""Computing time for the description, whose memory mostly ends first; the 1,500 layers take two seconds."""
READ_COST = 512
"""Bytes that pyfive keeps of a read besides what was read, about: a dictionary of a few numbers."""

FLOAT, STRING, VARIABLE_LENGTH = 1, 3, 9
"""Kinds of HDF5's types. A variable length of anything but text may hold itself, and so unfold without end."""
SYMBOL_TABLE, LINK_INFO, DATASPACE, CONTINUATION = 0x11, 2, 1, 0x10
"""Messages. An object has one of the first three: a group of the older or the newer format, or an array."""
LAST_MESSAGE = 0x18
"""The kinds of messages that HDF5 knows end here."""
CHECKSUM = JenkinsLookup3()
"""What ends the superblock and the headers of HDF5's newer format; pyfive does not look at it."""
SHARED = 2
"""The flag of a message that is kept elsewhere in the file."""


class Source:
    """The bytes of a file, as pyfive asks for them: none past the end, and not more than the limits allow."""

    def __init__(self, file: BinaryIO, path: Path, most: int | None = None) -> None:
        self.path = path
        self.size = file.seek(0, 2)
        self._file = file
        self._left = MOST_BYTES if most is None else most
        self._unread = self.size  # bytes that arrays may still take
        self._until = time.thread_time() + MOST_SECONDS

    def limited(self, most: int) -> "Source":
        """The same file, of which no more than so many bytes are given."""
        return Source(self._file, self.path, most)

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self.size - self._file.tell():  # below 0 a file would give all that it has
            raise WeightsError(f"{self.path}: it points beyond its own end: it is truncated or damaged; fetch it again")
        self.charge(count + READ_COST)
        return self._file.read(count)

    def charge(self, amount: int) -> None:
        """Count memory that is taken for the description.

        Raises:
            WeightsError: a limit is reached.
        """
        self._left -= amount
        if self._left < 0 or time.thread_time() > self._until:
            what = "the memory" if self._left < 0 else "the time"
            raise WeightsError(f"{self.path}: its description of the arrays is damaged, or made to fill {what}")

    def check(self, offset: int, size: int) -> None:
        """Hold a stretch against the checksum in its last four bytes; WeightsError where they differ."""
        self.seek(offset)
        content = self.read(size)
        if size < 8 or CHECKSUM.encode(content[:-4]) != content:
            raise WeightsError(f"{self.path}: a checksum in it is wrong: it is damaged; fetch it again")

    def array(self, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The values that lie one after another from `offset` on; WeightsError where they end before."""
        self._unread -= math.prod(shape) * dtype.itemsize
        if self._unread < 0:
            raise WeightsError(f"{self.path}: its arrays lie one on another: it is damaged, or made to fill the memory")
        array = np.empty(shape, dtype)
        if not array.nbytes:
            return array
        self._file.seek(offset)
        if self._file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
            raise WeightsError(f"{self.path}: it became shorter while it was read")
        return array


def root(source: Source) -> "Objects":
    """The outermost group.

    Raises:
        WeightsError: this is no HDF5, or not the whole file.
    """
    source.seek(0)
    if source.read(len(FORMAT_SIGNATURE)) != FORMAT_SIGNATURE:
        raise WeightsError(
            f"{source.path} cannot be read as a Keras weights file: it does not begin as HDF5 does. It may be "
            "truncated or of another kind: fetch it again, or give another file as model.weights"
        )
    block = SuperBlock(source, 0)
    if block.version > 0:
        source.check(0, SUPERBLOCK_V2_V3_SIZE)
    claimed = block._contents["end_of_file_address"]
    if claimed > source.size:
        raise WeightsError(
            f"{source.path}: it says that it has {claimed:,} bytes, and has {source.size:,}: it is truncated; fetch it "
            "again"
        )
    if block._contents["base_address"]:
        raise WeightsError(f"{source.path}: it is HDF5 inside another file, as Keras never writes it")
    return Objects(source, block.offset_to_dataobjects, {})


class Objects(DataObjects):
    """What the file says of one group or array: its links, its attributes that are text, its messages.

    The methods with an underscore are pyfive's own, called by its walks; each counts what it is about to keep.
    """

    def __init__(self, source: Source, address: int, heaps: dict[int, Any]) -> None:
        super().__init__(source.limited(MOST_HEADER_BYTES), address, global_heaps=heaps)
        self.fh = source
        self.heaps = heaps
        source.charge(READ_COST * len(self.msgs))
        self._check()

    def _check(self) -> None:
        """Raise WeightsError for a header that HDF5 never writes: pyfive passes over what it does not know."""
        old = "signature" not in self._header
        if not old:
            flags, chunk = self._header["flags"], self._header["size_of_chunk_0"]
            self.fh.check(self.offset, 6 + 16 * bool(flags & 32) + 2 ** (flags & 3) + chunk + 4)
        for found in self.find_msg_type(CONTINUATION) if not old else ():
            self.fh.check(*struct.unpack_from("<QQ", self.msg_data, found["offset_to_message"]))
        kinds = [found["type"] for found in self.msgs]
        one = sum(kind in (SYMBOL_TABLE, LINK_INFO, DATASPACE) for kind in kinds) == 1
        aligned = not old or all(found["size"] % 8 == 0 for found in self.msgs)
        if not one or not aligned or max(kinds) > LAST_MESSAGE:
            raise WeightsError(f"{self.fh.path}: the header of a group or array is damaged; fetch the file again")

    def message(self, kind: int) -> int | None:
        """Where the only message of a kind begins in `msg_data`; None without one.

        Raises:
            WeightsError: there are several, or it is kept elsewhere.
        """
        found = self.find_msg_type(kind)
        if len(found) > 1 or (found and found[0]["flags"] & SHARED):
            raise WeightsError(f"{self.fh.path}: it describes an array as Keras never does; it is damaged")
        return found[0]["offset_to_message"] if found else None

    def _decode_link_msg(self, data: bytes, offset: int) -> tuple[int | None, tuple[str, int | str]]:
        flags, kind = struct.unpack_from("<xBB", data, offset)
        if flags & 8 and kind > 1:
            changed = bytearray(data)
            changed[offset + 2] = 1  # a name and a text, laid out as those of a link inside the file
            _, (name, target) = DataObjects._decode_link_msg(bytes(changed), offset)
            other = target[1:].partition("\0")[0]
            raise WeightsError(f"{self.fh.path}: {name} is a link to another file, {other}, which is not read")
        order, link = DataObjects._decode_link_msg(data, offset)
        self.fh.charge(READ_COST + len(link[0]))
        return order, link

    def _iter_links_btree_v1(self, btree_address: int, heap_address: int) -> Iterator[tuple[str, int | str]]:
        heap = _Names(self.fh, heap_address)
        for address in BTreeV1Groups(self.fh, btree_address).symbol_table_addresses():
            table = SymbolTable(self.fh, address)
            table.assign_name(heap)
            links = table.get_links(heap)
            if len(links) != len(table.entries):  # kinds of members that pyfive passes over, or names twice
                raise WeightsError(f"{self.fh.path}: the list of a group's members is damaged; fetch the file again")
            yield from links.items()

    def _parse_attribute_msg(self, buffer: bytes, offset: int) -> tuple[str, Any]:
        version, flags, name_size = struct.unpack_from("<BBH", buffer, offset)
        name_at = offset + (8 if version == 1 else 9)
        type_at = name_at + (_padded_size(name_size) if version == 1 else name_size)
        self.fh.charge(READ_COST + name_size + (len(buffer) if buffer is not self.msg_data else 0))
        kind, first_bits, size = struct.unpack_from("<BBxxI", buffer, type_at)
        is_text = kind & 15 == STRING or (kind & 15 == VARIABLE_LENGTH and first_bits & 1)
        is_empty_list = kind & 15 == FLOAT and size == 8  # as NumPy writes one
        if not (is_text or is_empty_list) or (version > 1 and flags):
            return buffer[name_at : name_at + name_size].strip(b"\0").decode(), None
        return super()._parse_attribute_msg(buffer, offset)

    def _attr_value(self, ptype: Any, buf: bytes, count: int, offset: int) -> Any:
        if isinstance(ptype, P5VlenStringType) and not 0 <= 16 * count <= len(buf) - offset:
            raise WeightsError(f"{self.fh.path}: an attribute claims {count:,} texts, more than the file holds")
        return super()._attr_value(ptype, buf, count, offset)


class _Names(Heap):
    """The names of a group's members."""

    def __init__(self, source: Source, address: int) -> None:
        super().__init__(source, address)
        self._source = source

    def get_object_name(self, offset: int) -> bytes:
        name = super().get_object_name(offset)
        self._source.charge(len(name))
        return name
