"""A small run and its files in every format."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnn_jax import export
from cnn_jax.exporting import conversion, worker
from cnn_jax.exporting.formats import FORMATS, file_name
from tests.training.helpers import SMALL_CNN, train, with_


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network whose batch normalisation, padding and pooling the converters have to get right."""
    workdir = tmp_path_factory.mktemp("exported") / "run"
    model = {"image_size": (11, 14), "batch_norm": True, "strides": 2, "filters": (8, 16)}
    train(with_(SMALL_CNN, train={"epochs": 3}, model=model, data={"resize": "crop"}), workdir)
    return workdir


@pytest.fixture(scope="session")
def in_this_process() -> Iterator[None]:
    """Have the converters work here, where TensorFlow and Keras are loaded already."""

    def convert(request: dict, folder: Path, names: list, say) -> None:
        (folder / "request.json").write_text(json.dumps(request))
        with warnings.catch_warnings(action="ignore"):  # the converters' own, which their process keeps to itself
            assert worker.main([str(folder / "request.json")]) == 0

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(conversion, "_in_a_process", convert)
        yield


@pytest.fixture(scope="session")
def exported(run: Path, in_this_process: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Format to file, checked on 40 images."""
    folder = tmp_path_factory.mktemp("formats")
    flags = [f"--checkpoint={run}", f"--output={folder}", "--check-images=40", "--calibration-images=20"]
    assert export.main([*flags, "--format", "all"]) == 0
    return {name: folder / file_name("small", name) for name in FORMATS}
