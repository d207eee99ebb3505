"""The pages that add something to the package do: their changes, made to a copy of it, pass the page's own test."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("adding-a-model", "adding-an-augmentation", "adding-an-export-format")
STEP = re.compile(r"In `([\w/]+\.py)`:\n|```(diff|python)\n(.*?)```", re.DOTALL)


def change(file: Path, diff: str) -> None:
    """Make the change of a block without line numbers: what is not new stands in the file, once."""
    lines = diff.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    text = file.read_text()
    assert text.count(old) == 1, f"{file.name} has not, or more than once:\n{old}"
    file.write_text(text.replace(old, new))


def follow(page: Path, root: Path) -> None:
    """Do what a page says, in its order; a block of a file that is there already is a diff."""
    name = ""
    for said, language, block in STEP.findall(page.read_text()):
        name = said or name
        if language == "diff":
            change(root / name, block)
        elif language == "python":
            assert not (root / name).exists(), name
            (root / name).write_text(block)


@pytest.mark.long
@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_adds_passes_the_test_of_that_page(name: str, tmp_path: Path) -> None:
    for folder in ("cnn_jax", "tests", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    page = ROOT / "docs" / f"{name}.md"
    follow(page, tmp_path)
    (test,) = re.findall(r"^python -m pytest (.+)$", page.read_text(), re.MULTILINE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *shlex.split(test)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE)
