"""HDF5 read under limits: floats as h5py reads them, and files that lead a reader in circles or fill the memory."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cnn_jax.errors import WeightsError
from cnn_jax.weights.readers import bounded, hdf5, keras_h5
from cnn_jax.weights.readers.hdf5 import Array

FORMATS = ["earliest", "latest"]


def content(write: Callable[[h5py.File], Any], libver: Any = "earliest") -> bytearray:
    written = io.BytesIO()
    with h5py.File(written, "w", libver=libver) as file:
        write(file)
    return bytearray(written.getvalue())


def values(source: bytearray, name: str = "array") -> np.ndarray:
    with hdf5.opened(io.BytesIO(source), Path("w.h5")) as file:
        item = file[name]
        assert isinstance(item, Array)
        return item.values()


def refusal(source: bytearray, tmp_path: Path) -> str:
    """What reading the file as weights says; it names the file."""
    path = tmp_path / "w.h5"
    path.write_bytes(source)
    with pytest.raises(WeightsError) as error:
        keras_h5.read(path)
    assert str(path) in str(error.value)
    return str(error.value)


# ---- arrays ----


@pytest.mark.parametrize("libver", FORMATS)
@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 5)])
def test_floats_are_those_that_h5py_reads(kind: str, shape: tuple[int, ...], libver: str) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(kind)
    source = content(lambda file: file.create_dataset("array", data=array), libver)
    with h5py.File(io.BytesIO(source)) as file:
        expected = np.asarray(file["array"])
    read = values(source)
    np.testing.assert_array_equal(read, expected, strict=True)
    assert read.dtype == expected.dtype


def low_level(file: h5py.File, kind: h5py.h5t.TypeID, layout: int, array: np.ndarray) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(layout)
    created = h5py.h5d.create(file.id, b"array", kind, h5py.h5s.create_simple(array.shape), plan)
    created.write(h5py.h5s.ALL, h5py.h5s.ALL, array)


@pytest.mark.parametrize("libver", FORMATS)
def test_values_beside_their_description_are_read(libver: str) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    source = content(lambda file: low_level(file, h5py.h5t.IEEE_F32LE, h5py.h5d.COMPACT, array), libver)
    np.testing.assert_array_equal(values(source), array, strict=True)


def test_a_float_of_another_layout_is_refused() -> None:
    """bfloat16: two bytes, which read as a float16 are other numbers."""
    kind = h5py.h5t.IEEE_F16LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    source = content(lambda file: low_level(file, kind, h5py.h5d.CONTIGUOUS, np.ones(4, np.float32)))
    with pytest.raises(WeightsError, match=r"w\.h5: /array does not hold floats"):
        values(source)


def test_chunks_without_compression_are_refused_with_what_to_do() -> None:
    source = content(lambda file: file.create_dataset("array", data=np.ones((8, 8), np.float32), chunks=(4, 4)))
    with pytest.raises(WeightsError, match=r"in chunks.*h5repack --layout=CONTI --filter=NONE"):
        values(source)


def test_an_array_of_no_shape_is_refused() -> None:
    source = content(lambda file: file.create_dataset("array", data=h5py.Empty("f4")))
    with pytest.raises(WeightsError, match="has no values"):
        values(source)


def test_another_shape_than_the_stored_one_is_refused() -> None:
    source = content(lambda file: file.create_dataset("array", data=np.ones((3, 37), np.float32)))
    source[:] = source.replace(struct.pack("<QQ", 3, 37), struct.pack("<QQ", 3, 36))
    with pytest.raises(WeightsError, match="claims 432 bytes and the file holds 444"):
        values(source)


def address(source: bytearray, size: int) -> int:
    """Where the file keeps the address of an array of so many bytes; the size follows it."""
    at = source.index(struct.pack("<Q", size))
    while source[at - 10 : at - 8] != b"\x03\x01":  # the third version of the message, values in one piece
        at = source.index(struct.pack("<Q", size), at + 1)
    return at - 8


def test_values_past_the_end_are_refused() -> None:
    source = content(lambda file: file.create_dataset("array", data=np.ones(37, np.float32)))
    at = address(source, 148)
    source[at : at + 8] = struct.pack("<Q", len(source) - 100)
    with pytest.raises(WeightsError, match="claims 148 bytes and the file holds 100"):
        values(source)


# ---- descriptions that are damaged ----


def listed() -> bytearray:
    """A file of weights in HDF5's older format, whose headers have no checksum."""

    def write(file: h5py.File) -> None:
        file.attrs["layer_names"] = np.array([b"layer"])
        group = file.create_group("layer")
        group.attrs["weight_names"] = np.array([b"kernel:0"])
        group["kernel:0"] = np.ones((2, 2), np.float32)

    return content(write)


def test_a_list_of_weights_that_is_lost_is_an_error(tmp_path: Path) -> None:
    source = listed()
    source[:] = source.replace(b"weight_names", b"weight_nimes")
    assert "does not list its weights" in refusal(source, tmp_path)


def test_a_lost_piece_of_a_list_is_an_error(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        for number in (0, 2):
            file.attrs[f"layer_names{number}"] = np.array([b"layer"])
        file.create_group("layer").attrs["weight_names"] = np.array([])

    assert "a piece of the list layer_names of / is missing" in refusal(content(write), tmp_path)


def test_a_file_without_any_weights_is_an_error(tmp_path: Path) -> None:
    assert "has no weights" in refusal(content(lambda file: file.create_group("layers/conv2d/vars")), tmp_path)


def test_a_kind_of_member_that_hdf5_does_not_know_is_an_error(tmp_path: Path) -> None:
    source = listed()
    struct.pack_into("<I", source, source.index(b"SNOD") + 8 + 16, 7)  # of the first entry
    assert "the list of a group's members is damaged" in refusal(source, tmp_path)


def test_a_name_without_characters_is_an_error(tmp_path: Path) -> None:
    source = listed()
    at = source.index(b"layer\0", source.index(b"HEAP"))
    source[at : at + 5] = bytes(5)
    assert "the names of what is in / are damaged" in refusal(source, tmp_path)


def test_a_message_of_no_kind_is_an_error(tmp_path: Path) -> None:
    source = listed()
    table = source.index(struct.pack("<HH", 0x11, 16))  # what tells of the members of a group
    struct.pack_into("<H", source, table, 0x99)
    assert "the header of a group or array is damaged" in refusal(source, tmp_path)


@pytest.mark.parametrize("name", [b"layer_names", b"OCHK"])
def test_the_checksums_of_the_newer_format_are_looked_at(name: bytes, tmp_path: Path) -> None:
    """A flipped bit beside the name: in the first header, and in a block that continues one."""

    def write(file: h5py.File) -> None:
        file.attrs["layer_names"] = np.array([b"layer"])
        for i in range(4):
            file.attrs[f"name{i}"] = "x" * 100  # for which the first header has no room
            file.flush()

    source = content(write, "latest")
    source[source.index(name) + len(name) + 30] ^= 1
    assert "a checksum in it is wrong" in refusal(source, tmp_path)


# ---- files that lead in circles, or fill the memory ----


def test_many_descriptions_of_the_same_values_are_refused(tmp_path: Path) -> None:
    """Names for one description are another matter: `tests/faults/test_hostile_weights.py`."""

    def write(file: h5py.File) -> None:
        file.attrs["layer_names"] = ["layer"]
        names = [f"{i}/kernel:0" for i in range(8)]
        group = file.create_group("layer")
        group.attrs["weight_names"] = names
        group["0/kernel:0"] = np.ones(50_000, np.float32)
        for name in names[1:]:
            group.create_dataset(name, (50_000,), np.float32)  # not stored

    source = content(write)
    first = source[address(source, 200_000) :][:8]
    source[:] = source.replace(struct.pack("<QQ", hdf5.NOT_STORED, 200_000), first + struct.pack("<Q", 200_000))
    assert "lie one on another" in refusal(source, tmp_path)


@pytest.mark.parametrize("libver", FORMATS)
def test_groups_with_more_paths_than_can_be_gone_are_refused(
    libver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty groups, each twice in the one before: a trillion layers."""
    monkeypatch.setattr(bounded, "MOST_BYTES", 2**23)  # whose end comes in less than a second

    def write(file: h5py.File) -> None:
        group = file
        for _ in range(40):
            layers = group.create_group("layers")
            group = layers.create_group("first")
            layers["second"] = group

    assert "made to fill the memory" in refusal(content(write, libver), tmp_path)


def test_a_header_that_goes_on_in_itself_is_refused(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        for i in range(4):
            file.attrs[f"name{i}"] = "x" * 100
            file.flush()

    source = content(write, "latest")
    block = source.index(b"OCHK")
    continuation = source.index(struct.pack("<Q", block))
    message = source[continuation - 4 : continuation + 16]  # its header, the address and the length
    assert message[0] == 0x10
    source[block + 4 : block + 4 + len(message)] = message  # its checksum would be looked at afterwards
    assert "made to fill the memory" in refusal(source, tmp_path)


def test_names_that_are_all_one_stretch_are_refused(tmp_path: Path) -> None:
    """Three thousand names of 60 kB each, in a file of a fraction of that."""

    def write(file: h5py.File) -> None:
        group = file.create_group("g")
        file["n" * 60_000] = group
        for i in range(3000):
            file[f"link{i}"] = group

    source = content(write)
    assert len(source) < 1_000_000
    with h5py.File(io.BytesIO(source)) as file:
        assert len(file) == 3002
    long = source.index(b"n" * 60_000)
    heap = next(at for at in places(source, b"HEAP") if segment(source, at) <= long)
    for table in places(source, b"SNOD"):
        (count,) = struct.unpack_from("<H", source, table + 6)
        for entry in range(table + 8, table + 8 + 40 * count, 40):
            struct.pack_into("<Q", source, entry, long - segment(source, heap) + entry % 1000)
    assert "made to fill the memory" in refusal(source, tmp_path)


def places(source: bytearray, signature: bytes) -> list[int]:
    found = [source.find(signature)]
    while found[-1] >= 0:
        found.append(source.find(signature, found[-1] + 1))
    return found[:-1]


def segment(source: bytearray, heap: int) -> int:
    """Where the names of a heap begin."""
    return struct.unpack_from("<Q", source, heap + 24)[0]


def listing(file: h5py.File, names: Any, kind: Any) -> None:
    file.attrs.create("layer_names", names, dtype=kind)


@pytest.mark.parametrize("libver", FORMATS)
def test_an_attribute_that_claims_more_texts_than_there_are_is_refused(
    libver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded.Source, "check", lambda *_: None)  # who makes such a file makes the checksums fit
    source = content(lambda file: listing(file, ["layer"] * 37, h5py.string_dtype()), libver)
    at = source.index(struct.pack("<Q", 37), source.index(b"layer_names"))
    source[at : at + 8] = struct.pack("<Q", 2**40)
    assert "claims 1,099,511,627,776 texts" in refusal(source, tmp_path)


def test_a_heap_shorter_than_its_header_is_refused(tmp_path: Path) -> None:
    """Fifteen bytes less the sixteen of the header, for which a file would be read to its end."""
    source = content(lambda file: listing(file, ["layer"], h5py.string_dtype()))
    struct.pack_into("<Q", source, source.index(b"GCOL") + 8, 15)
    assert "points beyond its own end" in refusal(source, tmp_path)


@pytest.mark.parametrize("libver", FORMATS)
def test_lists_in_lists_are_not_taken_apart(libver: str, tmp_path: Path) -> None:
    lists = np.empty(2, object)
    lists[:] = [np.arange(3), np.arange(4)]
    source = content(lambda file: listing(file, lists, h5py.vlen_dtype(np.int64)), libver)
    assert "layer_names of / is no text" in refusal(source, tmp_path)


def test_a_description_that_takes_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST_SECONDS", -1.0)
    source = content(lambda file: listing(file, ["layer"], "S5"))
    assert "made to fill the time" in refusal(source, tmp_path)


def test_a_file_that_says_it_is_longer_is_refused(tmp_path: Path) -> None:
    source = content(lambda file: listing(file, ["layer"], "S5"))
    size = len(source)
    assert f"says that it has {size:,} bytes, and has {size - 1:,}" in refusal(source[:-1], tmp_path)
