"""Run directories with damage of every kind in every file: the run goes on from what is whole, and says what is not."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.errors import RunError, RunFailed, UserError
from cnn_jax.training.run import damage
from cnn_jax.training.run.checkpoints import Checkpoints
from cnn_jax.training.run.logs import MetricsLog, read
from tests.faults import damaged
from tests.faults.commands import error_of, run
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, metrics, stop_after, train, with_

pytestmark = [
    pytest.mark.usefixtures("leftovers_collected"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"),
]

CONFIG = with_(SMALL_CNN, train={"tensorboard": True})
BEST, NEWEST = 12, 14
LINES = [
    {"step": step, "epoch": step // 6, "split": split, "loss": 1.0, "accuracy": 0.5, "images_per_second": 7.0}
    for step in (6, 12)
    for split in ("train", "validation")
]
WHOLE = [json.dumps(line).encode() for line in LINES]


@pytest.mark.parametrize(
    ("content", "kept", "said"),
    [
        (b"\n".join([*WHOLE, b""]), 4, ""),
        (b"\n".join([*WHOLE, b'{"step": 18, "ep']), 4, ""),  # cut short by a kill
        (b"\n".join([WHOLE[0], b"\xff\xfe" + WHOLE[1], *WHOLE[2:], b""]), 3, "1 lines of metrics.jsonl"),
        (b"\n".join([*WHOLE[:3], b'{"step": 12, "split": "validation"}', b""]), 3, "1 lines of metrics.jsonl"),
        (b"\n".join([*WHOLE[:3], WHOLE[3].replace(b"split", b"spl4t"), b""]), 3, "1 lines of metrics.jsonl"),
        (b"\n".join([*WHOLE, WHOLE[0], b""]), 4, "1 lines of metrics.jsonl"),
        (b"\n".join([*WHOLE[2:], b""]), 2, "nothing is left of epochs 1;"),
        (b"", 0, "nothing is left of epochs 1, 2;"),
    ],
)
def test_damaged_metrics(content: bytes, kept: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(content)
    lines: list[str] = []
    MetricsLog(tmp_path, 14, 2, (), lines.append)
    assert len(read(tmp_path)) == kept
    assert all(line in LINES for line in read(tmp_path))
    assert len(lines) == bool(said)
    if said:
        assert said in lines[0]
        (copy,) = (tmp_path / "damaged").iterdir()
        assert copy.read_bytes() == content
        assert str(copy) in lines[0]


def test_epochs_of_which_no_checkpoint_is_left_are_named_and_their_lines_kept(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([*WHOLE, b""]))
    lines: list[str] = []
    MetricsLog(tmp_path, 0, 0, (), lines.append)
    (copy,) = (tmp_path / "damaged").iterdir()
    assert lines == [
        "damaged    no checkpoint is left of 2 epochs, so training begins anew; metrics.jsonl as it was: " + str(copy)
    ]
    assert copy.read_bytes().splitlines() == WHOLE
    assert read(tmp_path) == []
    MetricsLog(tmp_path, 0, 0, (), lines.append)
    assert len(lines) == 1
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([WHOLE[0], b"\xff", b""]))
    MetricsLog(tmp_path, 0, 0, (), lines.append)
    assert len(list((tmp_path / "damaged").iterdir())) == 2
    assert "1 lines of metrics.jsonl cannot be read; no checkpoint is left of 1 epochs" in lines[1]


def test_a_pipe_in_a_checkpoint_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "12" / "meta").mkdir(parents=True)
    os.mkfifo(tmp_path / "12" / "meta" / "_METADATA")
    with Checkpoints(tmp_path, reading=True) as checkpoints, pytest.raises(RunError, match="_METADATA is no file"):
        checkpoints.meta(12)


def test_records_that_are_damaged_are_moved_and_what_is_whole_or_foreign_stays(tmp_path: Path) -> None:
    contents: dict[str, bytes | None] = {
        "config.json": b"{}",
        "split.json": b"[]",
        "classes.json": b"\xff",
        "weights.json": b"",
        "result.json": None,
        "report.html": None,
        "tensorboard": b"x",
        "notes.txt": b"mine",
        "other": None,
    }
    for name, content in contents.items():
        (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    said: list[str] = []
    damage.mend(tmp_path, said.append)
    left = ["config.json", "damaged", "notes.txt", "other", "split.json"]  # which is read where its splits are opened
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert sorted(line.split()[1] for line in said) == [
        *("classes.json,", "report.html,", "result.json,", "tensorboard,", "weights.json,")
    ]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its third epoch; not to be changed."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patched:
        stop_after(NEWEST, patched)
        assert train(CONFIG, workdir).result["steps"] == NEWEST
    return workdir


@pytest.fixture(scope="module")
def finished(stopped: Path) -> Path:
    """The same run after it has gone on to its end."""
    workdir = stopped.with_name("finished")
    shutil.copytree(stopped, workdir)
    train(CONFIG, workdir)
    return workdir


def cut(folder: Path) -> None:
    """Half of every file below the folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.long
def test_a_run_goes_on_from_what_is_whole(
    stopped: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ended: Callable[..., None]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(stopped, workdir)
    (workdir / "config.json").write_bytes(b"\0\0")
    (workdir / "split.json").write_text((workdir / "split.json").read_text().replace("digits/", "digit/", 1))
    (workdir / "classes.json").write_text("[")
    (workdir / "result.json").unlink()
    (workdir / "result.json").mkdir()
    shutil.rmtree(workdir / "tensorboard")
    (workdir / "tensorboard").write_text("x")
    lines = (workdir / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (workdir / "metrics.jsonl").write_bytes(b"".join([b"\xff\xfe", *lines]))
    (workdir / "checkpoints" / str(BEST) / "metrics" / "metrics").write_text("[]")
    cut(workdir / "checkpoints" / str(NEWEST) / "meta")
    train(CONFIG, workdir)
    printed = capsys.readouterr().out
    names = ("config.json", "split.json", "classes.json", "result.json", "tensorboard", "metrics/metrics", "of step 14")
    for name in (*names, "1 lines of metrics.jsonl"):
        assert sum(name in line for line in printed.splitlines() if line.startswith("damaged ")) == 1, name
    assert len(list((workdir / "damaged").iterdir())) == 8
    assert_identical(final_state(CONFIG, workdir), final_state(CONFIG, finished))
    assert metrics(workdir) == metrics(finished)[1:]
    for name in ("config.json", "split.json", "classes.json"):
        assert (workdir / name).read_bytes() == (finished / name).read_bytes()
    accuracy = json.loads((workdir / "checkpoints" / str(BEST) / "metrics" / "metrics").read_text())
    assert accuracy == json.loads((stopped / "checkpoints" / str(BEST) / "metrics" / "metrics").read_text())
    ended("damage in every file of a run directory", "resumed", "all at once")


@pytest.mark.long
def test_what_cannot_be_made_anew_is_one_clear_error(stopped: Path, tmp_path: Path, ended: Callable[..., None]) -> None:
    def copied(name: str) -> Path:
        return Path(shutil.copytree(stopped, tmp_path / name))

    workdir = copied("none")
    for step in (BEST, NEWEST):
        cut(workdir / "checkpoints" / str(step) / "variables")
    with pytest.raises(RunError, match="no checkpoint can be read; give another --workdir to begin anew"):
        train(CONFIG, workdir)
    workdir = copied("split")
    record = json.loads((workdir / "split.json").read_text())
    record["splits"]["train"].append(record["splits"]["validation"].pop())  # a validation image to train on
    (workdir / "split.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"split\.json in the run directory is not what the run began with"):
        train(CONFIG, workdir)
    workdir = copied("accuracy")
    (workdir / "checkpoints" / str(BEST) / "metrics" / "metrics").write_text("{}")
    said = error_of("evaluate", f"--checkpoint={workdir}")
    assert "which checkpoint" in said
    assert f"checkpoints/{NEWEST}" in said
    assert run("evaluate", f"--checkpoint={workdir}/checkpoints/{NEWEST}") == 0
    ended("damage in every file of a run directory", "one clear error")


@pytest.fixture
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patched:
        yield patched


def search(stopped: Path, folder: Path, seeds: range, going_on: damaged.GoingOn, checkpoints: bool) -> Counter[str]:
    """How each seed ended; fails for any other error, and where what the run left is not whole."""
    endings: Counter[str] = Counter()
    workdir, kept = folder / "run", folder / "checkpoints"
    for seed in seeds:
        if not checkpoints and workdir.exists():
            (workdir / "checkpoints").rename(kept)  # hundreds of files that no damage to the records changes
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.copytree(stopped, workdir, ignore=shutil.ignore_patterns("checkpoints") if kept.exists() else None)
        if kept.exists():
            kept.rename(workdir / "checkpoints")
        candidates = [path for path in sorted(workdir.rglob("*")) if ("checkpoints" in path.parts) == checkpoints]
        done = damaged.damage_one(workdir, candidates, np.random.default_rng(seed))
        try:
            step, lines = going_on(workdir)
        except (UserError, RunFailed):
            endings["one clear error"] += 1
            continue
        none = checkpoints and "no checkpoint is left" in "".join(lines)  # the damage was done to the whole folder
        assert step in (BEST, NEWEST) or none, (seed, done)
        assert step == NEWEST or checkpoints, (seed, done)
        assert damaged.whole(workdir) == [], (seed, done)
        endings["finished" if none else "resumed"] += 1
    return endings


@pytest.mark.slow
@pytest.mark.parametrize(("checkpoints", "count"), [(False, 10_000), (True, 300)], ids=["records", "checkpoints"])
def test_a_search(
    checkpoints: bool,
    count: int,
    stopped: Path,
    tmp_path: Path,
    patched: pytest.MonkeyPatch,
    ended: Callable[..., None],
) -> None:
    going_on = damaged.GoingOn(CONFIG, patched, checkpoints=checkpoints)
    found = search(stopped, tmp_path, range(count), going_on, checkpoints)
    assert found["one clear error"] < count / 20
    for ending, times in found.items():
        for _ in range(times):
            ended("run directory changed by a seed", ending, "its checkpoints" if checkpoints else "its records")
