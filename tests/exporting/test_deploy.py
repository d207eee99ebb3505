"""The programs of docs/deploy.md, run as they stand there."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_jax
from tests.data.pictures import photograph
from tests.test_documents import ROOT, blocks

PROGRAMS = blocks(ROOT / "docs" / "deploy.md", "python")
pytestmark = pytest.mark.long


@pytest.mark.parametrize("number", range(len(PROGRAMS)), ids=["cnn_jax", "ONNX Runtime", "LiteRT"])
def test_a_program_of_the_page_names_the_class_that_the_run_names(
    run: Path,
    exported: dict[str, Path],
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "exported").mkdir()
    for name in ("onnx", "litert"):
        shutil.copy(exported[name], tmp_path / "exported" / f"mobilenet_ft{exported[name].suffix}")
    shutil.copy(exported["onnx"].parent / "labels.txt", tmp_path / "exported")
    fitting = np.asarray(photograph().resize((56, 44)))  # which the run, that crops, takes whole too
    Image.fromarray(fitting).save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    exec(compile(PROGRAMS[number], "deploy.md", "exec"), {})
    said = capsys.readouterr().out.split()
    expected = cnn_jax.load(run)("photo.jpg")
    assert re.sub(r"\W", "", said[0]) == expected.classes[0]
    if len(said) > 1:
        assert float(said[1]) == pytest.approx(float(expected.probabilities.max()), abs=5e-3)


def test_the_page_has_a_program_for_each_runtime() -> None:
    assert len(PROGRAMS) == 3
