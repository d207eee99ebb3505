"""No pickle is loaded and nothing from a file is run: by search over the sources, and by listening to the commands."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import cnn_jax
from cnn_jax.weights import catalog
from tests.faults.audited import events
from tests.faults.commands import run
from tests.faults.payloads import Payload
from tests.faults.strange import picture
from tests.training.helpers import SMALL_FROZEN, flags, with_

PACKAGE = Path(cnn_jax.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch", "yaml"}
"""Modules that run what they read, or may."""
CALLS = {"eval", "exec", "compile", "__import__"}
UNPICKLING = {"allow_pickle", "shell", "safe_mode", "enable_unsafe_deserialization"}
"""Arguments that the package gives nowhere."""


def _nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


def test_no_module_imports_what_unpickles() -> None:
    for path, node in _nodes():
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & FORBIDDEN, path


def test_no_text_is_run_and_no_check_is_switched_off() -> None:
    for path, node in _nodes():
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in CALLS, (path, node.lineno)
            assert not {keyword.arg for keyword in node.keywords} & UNPICKLING, (path, node.lineno)
            if isinstance(node.func, ast.Attribute) and node.func.attr == "exec_module":
                assert path.name == "experiments.py", "experiments alone are code"
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("load_model", "load_weights"):
                assert path.name in ("verify.py", "keras_files.py"), "the parity certificate, and what export wrote"


def test_pages_escape_everything() -> None:
    from cnn_jax import html

    assert html._environment().autoescape is True
    for path in html.TEMPLATES.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\|\s*safe|autoescape|Markup", text), path
        assert not re.search(r"<[^<>]*=\s*\{\{", text), f"{path}: an attribute without quotes"
    marked = [path.name for path in SOURCES if "Markup(" in path.read_text()]
    assert marked == ["__init__.py"], "the package's own script alone is not escaped"


def test_downloads_are_https_with_a_hash_where_one_is_published() -> None:
    for path in SOURCES:
        assert "http://" not in path.read_text(), path
    records = list(catalog.CATALOG)
    assert all(record.url.startswith("https://") for record in records)
    assert all(record.md5 for record in records if record.model in ("vgg16", "vgg19")), "Keras publishes these"


def test_a_pickle_is_noticed_and_numpy_loads_none(tmp_path: Path) -> None:
    """That the canary sings, where pickles are loaded; and that NumPy's default is what it is."""
    payload = Payload(tmp_path / "executed")
    path = tmp_path / "objects.npy"
    np.save(path, np.asarray([payload, 1], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        np.load(path)
    assert not payload.executed
    np.load(path, allow_pickle=True)
    assert payload.executed


@pytest.mark.slow
def test_what_the_commands_do_while_they_run(
    tmp_path: Path, finished_run: Path, real_weights: Path, ended: Callable[..., None]
) -> None:
    """Every command, in a home of its own, listened to: no pickle, no network, no stray file, only harmless processes.

    `uname` is what Python's `platform.processor` asks.
    """
    run_folder, cache, home, temporary = (tmp_path / name for name in ("run", "cache", "home", "temporary"))
    for folder in (home, temporary):
        folder.mkdir()
    for i in range(3):
        picture(tmp_path / "images" / f"{i}.png", i)
    data = tmp_path / "data"
    for number, name in enumerate(("cat", "dog")):
        for i in range(4):
            picture(data / name / f"{i}.png", 100 * number + i, size=40)
    config = with_(SMALL_FROZEN, train={"epochs": 1, "feature_cache": "on", "feature_views": 1})
    weights = real_weights / "mobilenet_2_5_224_tf_no_top.h5"
    commands: dict[str, list[object]] = {
        "train": [*flags(config, tmp_path / "experiment")[:1], f"--workdir={run_folder}"],
        "evaluate": [f"--checkpoint={run_folder}"],
        "compare": [run_folder, finished_run, f"--output={run_folder / 'compare.html'}"],
        "predict": [tmp_path / "images", f"--checkpoint={run_folder}", f"--output={run_folder / 'p.csv'}"],
        "explain": [tmp_path / "images", f"--checkpoint={run_folder}", "--methods", "grad-cam"],
        "check_data": [data, f"--html={run_folder / 'c.html'}"],
        "export": [f"--checkpoint={run_folder}", "--format=keras-h5"],
        "summarize": ["--exp=quickstart"],
        "verify_weights": ["--model.name=mobilenet", "--model.alpha=0.25", f"--model.weights={weights}", "--count=1"],
    }
    kept = {"CNN_JAX_CACHE": str(cache), "JAX_COMPILATION_CACHE_DIR": str(cache / "compiled")}
    elsewhere = {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "PYTHONDONTWRITEBYTECODE": "1",  # beside the modules, in a clone that has not run yet
        "AUDIT": str(tmp_path / "audit"),
    }
    environment = {**os.environ, **kept, **elsewhere, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path])}
    own, wrong = (run_folder, cache, temporary, home / ".keras"), []  # where Keras keeps its settings
    for name, arguments in commands.items():
        (tmp_path / "audit").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.faults.audited", name, *map(str, arguments)]
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        for event, what in events(tmp_path / "audit"):
            allowed = {
                "open": what in (os.devnull, str(temporary)) or any(what.startswith(f"{f}/") for f in own),
                "subprocess.Popen": any(program in what for program in ("git", "fc-list", "uname")),
                "marshal.load": True,  # how Python reads its own compiled modules
                "socket.connect": False,
                "pickle.find_class": False,
            }
            wrong += [] if allowed.get(event, False) else [(name, event, what)]
    assert not wrong, sorted(set(wrong))
    left = [path for path in (*home.rglob("*"), *temporary.rglob("*")) if path.is_file()]
    assert [path for path in left if ".keras" not in path.parts] == []
    ended("commands listened to", "finished", "no pickle, network or stray file")
    assert run("predict", tmp_path / "images", f"--checkpoint={finished_run}") == 0
