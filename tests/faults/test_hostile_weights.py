"""Weight files and archives made to break the reader, through the commands: nothing executes, nothing is unpacked."""

import base64
import io
import json
import marshal
import pickle
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cnn_jax.errors import WeightsError
from cnn_jax.io.files import cache_folder
from cnn_jax.weights.readers import keras_h5
from tests.faults.commands import attempt, error_of, nothing_changed, run, train
from tests.faults.payloads import Payload
from tests.training.helpers import SMALL_CNN, SMALL_FROZEN, flags, metrics, with_

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def good(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A legacy .h5 file that fits `SMALL_CNN`, and beside it the same weights as a .keras archive."""
    path = tmp_path_factory.mktemp("weights") / "good.h5"
    assert run("export", f"--checkpoint={finished_run}", "--format=keras-h5", f"--output={path}") == 0
    leaves = keras_h5.read(path)["params"]
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for layer, group in {"conv1": "conv2d", "conv2": "conv2d_1", "head": "dense"}.items():
            variables = file.create_group(f"layers/{group}/vars")
            variables.attrs["name"] = layer
            for number, leaf in enumerate(("kernel", "bias")):
                variables[str(number)] = leaves[layer][leaf]
    archive(path.with_suffix(".keras"), {"config.json": b'{"config": {}}', "model.weights.h5": content.getvalue()})
    return path


def archive(path: Path, members: dict[str | zipfile.ZipInfo, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in members.items():
            file.writestr(name, content, kind)
    return path


def members(path: Path) -> dict[str | zipfile.ZipInfo, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def arguments(weights: Path, workdir: Path) -> list[str]:
    return [*flags(with_(SMALL_CNN, model={"weights": str(weights)}, train={"epochs": 1}), workdir), "--report=False"]


# ---- archives ----


@pytest.mark.long
def test_an_archive_is_never_unpacked(good: Path, tmp_path: Path, ended: Callable[..., None]) -> None:
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    names = (
        "../evil",
        "../../../../../../tmp/evil",
        "/tmp/evil",
        "..\\evil",
        "a/../../evil",
        "C:\\evil",
        "\x1b[2Jevil",
    )
    path = archive(
        tmp_path / "w.keras", {**members(good.with_suffix(".keras")), **dict.fromkeys(names, b"x"), link: b"/"}
    )
    with nothing_changed(tmp_path, but=[tmp_path / "run", tmp_path / "run.py"]):
        assert run("train", *arguments(path, tmp_path / "run")) == 0
    assert not Path("/tmp/evil").exists()
    assert len(json.loads((tmp_path / "run" / "weights.json").read_text())["loaded"]) == 6
    for name in (*names, "a link"):
        ended("archive that leads outside", "finished", repr(name))


@pytest.mark.long
def test_a_lambda_in_a_configuration_is_not_looked_at(good: Path, tmp_path: Path, ended: Callable[..., None]) -> None:
    """As Keras itself writes it: `Lambda` with marshalled byte code."""
    payload = Payload(tmp_path / "executed")
    code = marshal.dumps(compile(f"open({str(tmp_path / 'executed')!r}, 'w')", "x", "exec"))
    function = {"class_name": "__lambda__", "config": {"code": base64.b64encode(code).decode(), "defaults": None}}
    layer = {"class_name": "Lambda", "module": "os", "config": {"name": "evil", "function": function}}
    config = {"class_name": "Functional", "config": {"layers": [layer]}, "build_config": layer}
    content = {**members(good.with_suffix(".keras")), "config.json": json.dumps(config).encode()}
    assert run("train", *arguments(archive(tmp_path / "w.keras", content), tmp_path / "run")) == 0
    with h5py.File(good) as source, h5py.File(tmp_path / "w.h5", "w") as file:
        source.copy("model_weights", file)
        file.attrs["model_config"] = json.dumps(config)
    assert run("train", *arguments(tmp_path / "w.h5", tmp_path / "other")) == 0
    assert not payload.executed
    ended("Lambda layer with code", "finished")


BOMBS: dict[str, dict[str | zipfile.ZipInfo, bytes]] = {
    "weights": {"model.weights.h5": bytes(2**26)},
    "configuration": {"config.json": b" " * 2**26},
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_zip_bomb_is_refused_by_what_it_claims(
    what: str, good: Path, tmp_path: Path, ended: Callable[..., None]
) -> None:
    content = {**members(good.with_suffix(".keras")), **BOMBS[what]}
    path = archive(tmp_path / "w.keras", content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**18
    message = error_of("train", *arguments(path, tmp_path / "run"))
    assert "67,108,864 bytes, which is made to fill the memory" in message
    assert not (tmp_path / "run").exists()
    ended("zip bomb", "one clear error", what)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_that_claims_little_is_not_inflated(
    kind: int, good: Path, tmp_path: Path, ended: Callable[..., None]
) -> None:
    size, claimed = (struct.pack("<I", number) for number in (2**26, 1000))
    path = archive(tmp_path / "w.keras", {**members(good.with_suffix(".keras")), **BOMBS["weights"]}, kind)
    path.write_bytes(path.read_bytes().replace(size, claimed))
    tracemalloc.start()
    with pytest.raises(WeightsError, match=r"w\.keras.*(compressed as Keras never does it|CRC)"):
        keras_h5.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22
    ended("zip bomb", "one clear error", "claims little")


def test_archives_of_other_kinds(good: Path, tmp_path: Path, ended: Callable[..., None]) -> None:
    payload = Payload(tmp_path / "executed")
    whole = members(good.with_suffix(".keras"))
    files = {
        "PyTorch": {"archive/data.pkl": payload.pickled, "archive/version": b"3"},
        "pickle in the place of the weights": {**whole, "model.weights.h5": payload.pickled},
        "brackets without end": {**whole, "config.json": DEEP.encode()},
        "no configuration": {"model.weights.h5": whole["model.weights.h5"]},
    }
    for kind, content in files.items():
        message = error_of("train", *arguments(archive(tmp_path / "w.keras", dict(content)), tmp_path / "run"))
        assert str(tmp_path / "w.keras") in message
        ended("archive that is none of Keras'", "one clear error", kind)
    (tmp_path / "pickle.h5").write_bytes(payload.pickled)
    assert "cannot be read as a Keras weights file" in error_of(
        "train", *arguments(tmp_path / "pickle.h5", tmp_path / "run")
    )
    ended("pickle called .h5", "one clear error")
    assert not payload.executed
    assert not (tmp_path / "run").exists()


# ---- HDF5 ----


def external_link(file: h5py.File, where: str, other: Path) -> None:
    del file[where]
    file[where] = h5py.ExternalLink(str(other), "secret")


def external_group(file: h5py.File, where: str, other: Path) -> None:
    del file["model_weights/conv1"]
    file["model_weights/conv1"] = h5py.ExternalLink(str(other), "/")


def external_storage(file: h5py.File, where: str, other: Path) -> None:
    shape = file[where].shape
    del file[where]
    file.create_dataset(where, shape, np.float32, external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, where: str, other: Path) -> None:
    shape = file[where].shape
    del file[where]
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[...] = h5py.VirtualSource(str(other), "secret", shape)
    file.create_virtual_dataset(where, layout)


def inflating(file: h5py.File, where: str, other: Path) -> None:
    del file[where]
    file.create_dataset(where, (2**22,), np.float32, compression="gzip", data=np.zeros(2**22, np.float32))


def claiming(file: h5py.File, where: str, other: Path) -> None:
    del file[where]
    file.create_dataset(where, (2**20, 2**20), np.float32)


def two_names(file: h5py.File, where: str, other: Path) -> None:
    del file[where]
    file[where] = file["model_weights/conv1/conv1/kernel:0"]


def group_for_an_array(file: h5py.File, where: str, other: Path) -> None:
    del file[where]
    file.create_group(where)


def round_in_a_circle(file: h5py.File, where: str, other: Path) -> None:
    del file[where]
    file[where] = h5py.SoftLink(f"/{where}")


def strings(file: h5py.File, where: str, other: Path) -> None:
    del file[where]
    file[where] = np.asarray([b"cos\nsystem\n(S'touch x'\ntR."] * 8, object)


def pickled_attribute(file: h5py.File, where: str, other: Path) -> None:
    del file["model_weights/conv2"].attrs["weight_names"]
    file["model_weights/conv2"].attrs["weight_names"] = np.void(pickle.dumps(Path))


KINDS = {
    "link to another file": (external_link, "is a link to another file"),
    "group in another file": (external_group, "is a link to another file"),
    "values in another file": (external_storage, "are in another file"),
    "virtual data set": (virtual, "are in another file"),
    "compressed": (inflating, "is compressed"),
    "terabytes that are not stored": (claiming, "claims 4,398,046,511,104 bytes"),
    "two names for an array": (two_names, "another name for an array"),
    "group for an array": (group_for_an_array, "is no array"),
    "link to itself": (round_in_a_circle, "is a link by name"),
    "strings": (strings, "does not hold floats"),
    "pickled attribute": (pickled_attribute, "is no text"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_hdf5_file_gives_nothing_but_its_own_arrays(
    kind: str, good: Path, tmp_path: Path, ended: Callable[..., None]
) -> None:
    change, expected = KINDS[kind]
    path, other = tmp_path / "w.h5", tmp_path / "secret.h5"
    path.write_bytes(good.read_bytes())
    with h5py.File(other, "w") as file:
        file["secret"] = np.zeros((3, 3, 4, 8), np.float32)
    with h5py.File(path, "a") as file:
        change(file, "model_weights/conv2/conv2/kernel:0", other)
    message = error_of("train", *arguments(path, tmp_path / "run"))
    assert expected in message
    assert str(path) in message
    assert not (tmp_path / "run").exists()
    ended("HDF5 file made to break", "one clear error", kind)


@pytest.mark.parametrize("command", ["predict", "verify_weights"])
def test_the_other_commands_that_read_weights(
    command: str, good: Path, tmp_path: Path, ended: Callable[..., None]
) -> None:
    path = tmp_path / "w.h5"
    path.write_bytes(good.read_bytes())
    with h5py.File(path, "a") as file:
        external_link(file, "model_weights/conv2/conv2/kernel:0", tmp_path / "secret.h5")
    named = [str(good)] if command == "predict" else []
    code, message = attempt(command, *named, "--model.name=mobilenet", f"--model.weights={path}")
    assert code
    assert "is a link to another file" in message or "no images" in message, message
    ended("HDF5 file made to break", "one clear error", command)


# ---- the cache of features ----


@pytest.mark.long
def test_pickled_arrays_in_the_cache_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    config = with_(
        SMALL_FROZEN,
        data={"split": (0.1, 0.05, 0.85)},
        train={"epochs": 1, "feature_cache": "on", "feature_views": 2, "feature_memory_megabytes": 0},
    )
    assert train(config, tmp_path / "first") == 0
    payload = Payload(tmp_path / "executed")
    found = sorted((cache_folder() / "features").rglob("*.rows"))
    assert len(found) == 3
    np.save(found[0], np.asarray([payload], object), allow_pickle=True)
    np.savez(found[1].with_suffix(""), np.asarray([payload], object), allow_pickle=True)
    found[1].with_suffix(".npz").rename(found[1])
    found[2].write_bytes(payload.pickled)
    assert train(config, tmp_path / "second") == 0
    assert metrics(tmp_path / "first") == metrics(tmp_path / "second")
    assert not payload.executed
    for kind in ("array of objects", "archive of objects", "bare pickle"):
        ended("pickle in the cache", "finished", kind)
