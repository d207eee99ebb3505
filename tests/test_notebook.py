"""The notebook of the course runs from its first cell to its last, and says what it should."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_command_line import PACKAGE_PARENT

NOTEBOOK = Path(__file__).parent.parent / "docs" / "course.ipynb"


def test_the_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert NOTEBOOK.stat().st_size < 50_000


@pytest.mark.long
@pytest.mark.optimized
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PACKAGE_PARENT)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert not [output for output in outputs if "text/html" in output.get("data", {})]  # plain lines, not widgets
    assert "\x1b" not in printed
    assert "".join(output.get("text", "") for output in outputs if output.get("name") == "stderr") == ""
    accuracy = dict(re.findall(r"^(own|MobileNet|VGG16)  +([\d.]+) ", printed, re.MULTILINE))
    assert float(accuracy["own"]) > 0.85  # ten classes
    assert float(accuracy["MobileNet"]) > 0.6  # ten classes; it has seen nothing but shapes
    assert printed.count("bit-identical to the start") == 4  # VGG16, and MobileNet at three freeze points
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
