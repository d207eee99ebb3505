"""Hundreds of broken files: each is a clear error, or gives exactly the values that the file has."""

import contextlib
import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import WeightsError
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables, depthwise_layers
from cnn_jax.weights.readers import keras_h5
from cnn_jax.weights.transfer import Transfer, merge
from tests.models.keras_reference import application, quiet_keras, randomise, save_legacy

CONFIG = ModelConfig("mobilenet", alpha=1 / 32, image_size=32)
MUTATIONS = 100
"""For each layout."""


@pytest.fixture(scope="module")
def load() -> Callable[[Path], tuple[Variables, Transfer]]:
    """Read a file into the shapes of a model for two classes."""
    model = build(CONFIG, 2)
    shapes = model.shapes
    roles = {
        "new_layers": model.new_layers,
        "replaced_layers": model.replaced_layers,
        "depthwise_layers": depthwise_layers(model.layers),
    }
    return lambda path: merge(shapes, keras_h5.read(path), **roles, source=str(path))


@pytest.fixture(
    scope="module", params=["legacy.h5", pytest.param("model.weights.h5", marks=pytest.mark.slow), "model.keras"]
)
def original(request, tmp_path_factory) -> Path:
    reference = application(CONFIG, top=False)
    randomise(reference, np.random.default_rng(0))
    path = tmp_path_factory.mktemp("weights") / request.param
    with quiet_keras():
        if request.param == "legacy.h5":
            save_legacy(reference, path)
        elif request.param == "model.keras":
            reference.save(path)
        else:
            reference.save_weights(path)
    return path


def datasets(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def groups(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Group) else None)
    return found


def rewrite(file: h5py.File, name: str, value: np.ndarray) -> None:
    del file[name]
    file[name] = value


def flip_bytes(content: bytearray, rng: np.random.Generator) -> bytearray:
    for position in rng.integers(0, len(content), rng.integers(1, 20)):
        content[position] ^= int(rng.integers(1, 256))
    return content


def truncate(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: rng.integers(0, len(content))]


def zero_a_stretch(content: bytearray, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(0, len(content)))
    end = min(len(content), start + int(rng.integers(1, 4096)))
    content[start:end] = bytes(end - start)
    return content


def spoil_a_value(file: h5py.File, rng: np.random.Generator) -> None:
    name = rng.choice(datasets(file))
    value = file[name][...]
    value.flat[rng.integers(value.size)] = rng.choice([np.nan, np.inf, -np.inf, 1.5])
    rewrite(file, name, value)


def reshape(file: h5py.File, rng: np.random.Generator) -> None:
    name = rng.choice(datasets(file))
    value = file[name][...]
    shapes = [value[..., None], value.ravel(), value.T, value[:-1], np.concatenate([value, value])]
    rewrite(file, name, shapes[rng.integers(len(shapes))])


def change_dtype(file: h5py.File, rng: np.random.Generator) -> None:
    name = rng.choice(datasets(file))
    rewrite(file, name, file[name][...].astype(rng.choice(["float64", "float16", "int32", "S4"])))


def rename(file: h5py.File, rng: np.random.Generator) -> None:
    name = rng.choice(datasets(file) + groups(file))
    file.move(name, f"{name}_renamed")


def delete(file: h5py.File, rng: np.random.Generator) -> None:
    del file[rng.choice(datasets(file) + groups(file))]


def change_an_attribute(file: h5py.File, rng: np.random.Generator) -> None:
    holders = [name for name in ["/", *groups(file)] if len(file[name].attrs)]
    attributes = file[rng.choice(holders)].attrs
    key = rng.choice(list(attributes))
    value = attributes[key]
    if isinstance(value, np.ndarray) and len(value):  # a list of names: one lost, the order changed, one twice
        lists = [value[:-1], value[::-1], np.append(value, value[:1])]
        attributes[key] = lists[rng.integers(len(lists))]
    elif rng.random() < 0.5:
        del attributes[key]
    else:
        attributes[key] = "conv1"


BYTES: list[Callable] = [flip_bytes, truncate, zero_a_stretch]
CONTENTS: list[Callable] = [spoil_a_value, reshape, change_dtype, rename, delete, change_an_attribute]


def mutate(path: Path, rng: np.random.Generator) -> str:
    """Change the file in place by one mutation; its name."""
    kinds = BYTES + CONTENTS
    kind = kinds[rng.integers(len(kinds))]
    if kind in BYTES:
        path.write_bytes(kind(bytearray(path.read_bytes()), rng))
    elif path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            kind(file, rng)
    else:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        content = io.BytesIO(members["model.weights.h5"])
        with h5py.File(content, "a") as file:
            kind(file, rng)
        with zipfile.ZipFile(path, "w") as archive:
            for name, value in (members | {"model.weights.h5": content.getvalue()}).items():
                archive.writestr(name, value)
    return kind.__name__


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file, or the one in the archive."""
    source: Path | io.BytesIO = path
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(source, "r") as file:
        yield file


Stretches = list[tuple[int, int]]
"""Begin and length of the values of each array."""


def arrays_in(path: Path, kind: str, names: list[str], stretches: Stretches) -> list[bytes]:
    """The bytes of the arrays of these names, sorted; found without the package's readers.

    After a change of bytes they are taken from where they lay: HDF5's library ends the process on some such files.
    """
    if kind in {change.__name__ for change in BYTES} and path.suffix == ".h5":
        content = path.read_bytes()
        return sorted(content[begin : begin + length] for begin, length in stretches)
    with opened(path) as file:
        return sorted(_widened(np.asarray(file[name])).tobytes() for name in names)


def _widened(array: np.ndarray) -> np.ndarray:
    """float16 is read as float32."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


@pytest.mark.long
def test_a_broken_file_is_an_error_or_gives_the_values_that_it_has(original, load, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / original.name
    with opened(original) as file:
        names = datasets(file)
        stretches = [(file[name].id.get_offset(), file[name].nbytes) for name in names]
    outcomes: dict[str, set[str]] = {}
    for number in range(MUTATIONS):
        shutil.copy(original, path)
        kind = mutate(path, rng)
        try:
            variables, transferred = load(path)
        except WeightsError:
            outcomes.setdefault(kind, set()).add("error")
            continue
        outcomes.setdefault(kind, set()).add("loaded")
        assert all(layer == "head" for _, layer, _ in (p.split("/") for p in transferred.initialised)), (number, kind)
        loaded = sorted(leaf.tobytes() for leaf in jax.tree.leaves(variables) if isinstance(leaf, np.ndarray))
        assert len(loaded) == len(transferred.loaded)
        assert loaded == arrays_in(path, kind, names, stretches), (number, kind)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables) if isinstance(leaf, np.ndarray))
    assert {kind for kind, seen in outcomes.items() if "error" in seen} >= {
        "truncate",
        "spoil_a_value",
        "reshape",
        "change_dtype",
        "rename",
        "delete",
    }
