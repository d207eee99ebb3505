"""Disks that are full or cannot be written: real ones, in memory, of a few kilobytes."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.faults.commands import attempt, error_of, files, nothing_changed, run, train
from tests.faults.processes import command
from tests.faults.strange import picture
from tests.training.helpers import SMALL_CNN, SMALL_FROZEN, assert_identical, final_state, flags, metrics, with_

pytestmark = [
    pytest.mark.usefixtures("leftovers_collected"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # what Orbax leaves of a failed save
    pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
]

LOGGED = with_(SMALL_CNN, train={"epochs": 2, "tensorboard": True})
ON_DISK = with_(
    SMALL_FROZEN,
    data={"split": (0.1, 0.05, 0.85)},
    train={"epochs": 1, "feature_cache": "on", "feature_views": 2, "feature_memory_megabytes": 0},
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    assert train(LOGGED, workdir) == 0
    return workdir


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


@pytest.mark.long
@pytest.mark.parametrize(
    "kilobytes", [4, 150, 600, *(pytest.param(size, marks=pytest.mark.slow) for size in (12, 40, 100, 200, 260))]
)
def test_a_disk_that_is_full_from_some_moment_on_loses_nothing_that_was_saved(
    kilobytes: int,
    whole: Path,
    small_disk: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ended: Callable[..., None],
) -> None:
    disk = small_disk(f"size={kilobytes}k")
    workdir = disk / "run"
    arguments = [flags(LOGGED, tmp_path / "run")[0], f"--workdir={workdir}"]
    code, message = attempt("train", *arguments)
    if code:
        assert str(workdir) in message
        assert any(text in message for text in ("No space left", "NO_SPACE", "RESOURCE_EXHAUSTED")), message
        assert "start the same command again" in message or "cannot be written" in message
        ended("full disk", "one clear error", "training")
    else:
        assert "report     not written" in capsys.readouterr().out
        ended("full disk", "finished", "reporting")
    saved = {path.name for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()}
    remount(disk, "size=64m")
    assert train(LOGGED, workdir) == 0
    assert_identical(final_state(LOGGED, whole), final_state(LOGGED, workdir))
    assert metrics(whole) == metrics(workdir)
    assert saved <= {path.name for path in (workdir / "checkpoints").iterdir()} | {"6"}
    aside = [path.name for path in (workdir / "damaged").glob("*")]
    assert aside == [] or not saved
    assert all(name.startswith("metrics") for name in aside), "those of epochs without a checkpoint"


@pytest.mark.long
def test_a_full_disk_under_what_the_other_commands_write(
    finished_run: Path, small_disk: Callable[[str], Path], tmp_path: Path, ended: Callable[..., None]
) -> None:
    disk = small_disk("size=8k")
    Image.new("RGB", (8, 8)).save(tmp_path / "digit.png")
    checkpoint, another = f"--checkpoint={finished_run}", tmp_path / "another"
    subprocess.run(["cp", "-a", finished_run, another], check=True)
    writes = {
        "evaluate": [checkpoint, f"--output={disk / 'e.json'}"],
        "compare": [finished_run, another, f"--output={disk / 'c.html'}"],
        "export": [checkpoint, "--format=keras-h5", f"--output={disk / 'e.h5'}"],
        "explain": [tmp_path / "digit.png", checkpoint, f"--output={disk / 'explained'}"],
        "predict": [*[tmp_path / "digit.png"] * 300, checkpoint, f"--output={disk / 'p.csv'}"],
        "check_data": [tmp_path / "data", f"--html={disk / 'c.html'}"],
    }
    for name in ("cat", "dog"):
        for i in range(3):
            picture(tmp_path / "data" / name / f"{i}.png", ord(name[0]) + i, size=40)
    (disk / "ballast").write_bytes(bytes(4096))
    with nothing_changed(finished_run):
        for name, arguments in writes.items():
            message = error_of(name, *arguments)
            assert str(disk) in message
            assert "No space left" in message, message
            assert all(path.name == "ballast" or "explained" in str(path) for path in files(disk)), files(disk)
            ended("full disk", "one clear error", name)


@pytest.mark.long
def test_a_disk_that_cannot_be_written(
    finished_run: Path, small_disk: Callable[[str], Path], tmp_path: Path, ended: Callable[..., None]
) -> None:
    disk = small_disk("size=16m")
    subprocess.run(["cp", "-a", finished_run, disk / "run"], check=True)
    remount(disk, "ro")
    config = with_(SMALL_CNN, train={"epochs": 2})
    Image.new("RGB", (8, 8)).save(tmp_path / "digit.png")
    checkpoint = f"--checkpoint={disk / 'run'}"
    with nothing_changed(disk):
        for workdir in (disk / "run", disk / "new", disk / "new/below"):
            message = error_of("train", *flags(config, tmp_path / "run")[:1], f"--workdir={workdir}")
            assert message == f"--workdir={workdir} cannot be written: Read-only file system"
            ended("read-only directory", "one clear error", "train")
        wrong = {
            "evaluate": [checkpoint],
            "export": [checkpoint, "--format=stablehlo"],
            "explain": [tmp_path / "digit.png", checkpoint],
            "predict": [tmp_path / "digit.png", checkpoint, f"--output={disk / 'p.csv'}"],
        }
        for name, arguments in wrong.items():
            message = error_of(name, *arguments)
            assert str(disk) in message
            assert "Read-only file system" in message
            ended("read-only directory", "one clear error", name)
        assert run("evaluate", checkpoint, f"--output={tmp_path / 'e.json'}") == 0
        assert json.loads((tmp_path / "e.json").read_text())["n"] == 359
        assert run("predict", tmp_path / "digit.png", checkpoint) == 0
        ended("read-only directory", "finished", "evaluate and predict, written elsewhere")


@pytest.mark.sample(1)
@pytest.mark.parametrize(("what", "options"), [("full", "size=8k"), ("read-only", "size=8k,ro")])
def test_a_cache_folder_that_takes_no_features(
    what: str,
    options: str,
    small_disk: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ended: Callable[..., None],
) -> None:
    monkeypatch.setenv("CNN_JAX_CACHE", str(small_disk(options) / "cache"))
    message = error_of("train", *flags(ON_DISK, tmp_path / "run"))
    assert "name another folder with CNN_JAX_CACHE" in message
    ended(f"{what} cache folder", "one clear error", "caching features")


SLOW = [pytest.param(what, marks=pytest.mark.slow) for what in ("full", "read-only")]


@pytest.mark.long
@pytest.mark.parametrize("what", ["cut short", *SLOW])
def test_a_cache_of_compiled_programs_that_is_no_use(
    what: str, small_disk: Callable[[str], Path], tmp_path: Path, ended: Callable[..., None]
) -> None:
    """A process of its own: JAX opens this cache once."""
    config = with_(SMALL_CNN, train={"epochs": 1})
    assert train(config, tmp_path / "first") == 0
    if what == "cut short":
        compiled = tmp_path / "compiled"
        shutil.copytree(os.environ["JAX_COMPILATION_CACHE_DIR"], compiled)
        programs = list(compiled.rglob("*-cache"))
        assert programs
        for path in programs:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        compiled = small_disk("size=8k" if what == "full" else "size=8k,ro")
    cache = {"CNN_JAX_CACHE": str(compiled), "JAX_COMPILATION_CACHE_DIR": str(compiled)}
    done = command("train", *flags(config, tmp_path / "second"), **cache)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "first") == metrics(tmp_path / "second")
    ended(f"{what} cache of compiled programs", "finished")
