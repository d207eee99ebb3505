"""Weights files of every layout, changed by a seed where HDF5 keeps its structures, each read under limits.

`tests/faults/mutated.py` has the changes. None may end the process, hang or fill the memory: each is one clear error or
gives arrays.
"""

import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cnn_jax.weights.readers import keras_h5
from tests.faults import mutated
from tests.weights.legacy import write_layers

QUICK, THOROUGH = 200, 10_000
PIECE = 1_000
"""Seeds for one process."""

LAYERS = 12
"""More than the eight links and attributes that the newer formats keep in the header of a group."""


def legacy(file: h5py.Group, *, chunk: int | None = None, kind: Any = "S") -> None:
    """Convolutions and batch norms as `save_weights` of Keras 2 writes them."""
    rng = np.random.default_rng(0)
    layers = {f"conv{i}": {"kernel:0": rng.normal(size=(1, 1, 2, 3)).astype("f4")} for i in range(LAYERS)}
    names = ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")
    layers |= {f"bn{i}": {name: rng.normal(size=3).astype("f4") for name in names} for i in range(LAYERS)}
    whole = {layer: {f"{layer}/{name}": array for name, array in arrays.items()} for layer, arrays in layers.items()}
    write_layers(file, whole, chunk=chunk, kind=kind)
    file.create_group("input_1").attrs["weight_names"] = np.array([])


def whole_model(file: h5py.Group) -> None:
    file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": []}})
    legacy(file.create_group("model_weights"), chunk=2, kind=h5py.string_dtype())


def keras_3(file: h5py.Group) -> None:
    """Layers as `save_weights` of Keras 3 writes them."""
    rng = np.random.default_rng(0)
    for i in range(LAYERS):
        for kind, shapes in {"conv2d": [(1, 1, 2, 3), (3,)], "batch_normalization": [(3,)] * 4}.items():
            variables = file.create_group(f"layers/{kind}{f'_{i}' if i else ''}/vars")
            variables.attrs["name"] = f"my_{kind}_{i}"
            for number, shape in enumerate(shapes):
                variables[str(number)] = rng.normal(size=shape).astype("f4")


def hdf5(write: Callable[..., None], libver: Any = "earliest", **options: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w", libver=libver) as file:
        write(file, **options)
    return content.getvalue()


def archived(content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": []}}))
        archive.writestr(mutated.INNER, content)
    return written.getvalue()


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small file of every layout, in the older and the newer formats of HDF5."""
    folder = tmp_path_factory.mktemp("originals")
    files = {
        "legacy.h5": hdf5(legacy),
        "legacy_latest.h5": hdf5(legacy, "latest", chunk=2),
        "model.h5": hdf5(whole_model),
        "model_latest.h5": hdf5(whole_model, "latest"),
        "keras_3.weights.h5": hdf5(keras_3),
        "keras_3_latest.weights.h5": hdf5(keras_3, "latest"),
        "keras_3.keras": archived(hdf5(keras_3)),
    }
    for name, content in files.items():
        (folder / f"original_{name}").write_bytes(content)
    return folder


def search(folder: Path, first: int, last: int) -> list[dict[str, Any]]:
    """What became of each seed; fails with the seed that ended the process, hung or met the limit of memory."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.mutated", folder, str(first), str(last)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"seed {lines[-1:]} ended the process: {done.returncode}\n{done.stderr[-4000:]}"
    assert len(lines) == 2 * (last - first) + 1
    results = [line for line in lines if "result" in line]
    assert not [line for line in results if line["result"] == "memory"]
    return results


def counted(results: list[dict[str, Any]]) -> Counter[str]:
    return Counter(line["result"] for line in results)


def test_the_originals_are_read_as_h5py_reads_them(originals: Path) -> None:
    for path in originals.glob("original*"):
        content: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read(mutated.INNER))
        arrays: list[bytes] = []
        with h5py.File(content) as file:
            file.visititems(
                lambda _, item, found=arrays: (
                    found.append(item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
                )
            )
        assert sorted(value for _, _, value in mutated.flat(keras_h5.read(path)).values()) == sorted(arrays), path


def test_files_changed_by_a_seed_are_refused_or_read(originals: Path, ended: Callable[..., None]) -> None:
    found = counted(search(originals, 0, QUICK))
    assert min(found["refused"], found["equal"], found["different"]) > 0
    for kind, count in found.items():
        for _ in range(count):
            ended("HDF5 file changed by a seed", "one clear error" if kind == "refused" else "finished", kind)


@pytest.mark.slow
def test_ten_thousand_files_changed_by_a_seed(originals: Path, ended: Callable[..., None]) -> None:
    for first in range(QUICK, QUICK + THOROUGH, PIECE):
        for kind, count in counted(search(originals, first, first + PIECE)).items():
            for _ in range(count):
                ended("HDF5 file changed by a seed", "one clear error" if kind == "refused" else "finished", kind)
