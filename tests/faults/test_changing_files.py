"""Files that vanish or change between being listed and being read, and run directories with pieces missing."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cnn_jax.training import resume, run_evaluation
from tests.faults.commands import attempt, error_of, nothing_changed, run, train
from tests.faults.strange import picture
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, flags, metrics, with_


def _images(root: Path) -> Path:
    for number, name in enumerate(("cat", "dog")):
        for i in range(8):
            picture(root / name / f"{i}.png", 100 * number + i)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return _images(tmp_path / "data")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the same images, to which nothing happened."""
    root = tmp_path_factory.mktemp("whole")
    assert train(_config(_images(root / "data")), root / "run") == 0
    return root / "run"


def _config(data: Path):
    return with_(
        SMALL_CNN,
        data={
            "dataset": f"folder:{data}",
            "split": (0.5, 0.5, 0.0),
            "batch_size": 4,
            "steps_per_epoch": 2,
            "memory_megabytes": 0,
        },
        train={"epochs": 2},
    )


CHANGES: dict[str, Callable[[Path], None]] = {
    "vanishes": lambda path: path.unlink(),
    "is cut short": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "becomes a folder": lambda path: (path.unlink(), path.mkdir()),
    "becomes a link that leads nowhere": lambda path: (path.unlink(), path.symlink_to("gone")),
    "becomes empty": lambda path: path.write_bytes(b""),
}


@contextmanager
def after(owner, function: str, change: Callable[[], None]) -> Iterator[None]:
    """Change something when a function has returned."""
    original = getattr(owner, function)

    def changing(*arguments, **named):
        result = original(*arguments, **named)
        change()
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, function, changing)
        yield


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in list(CHANGES)[2:]]


@pytest.mark.long
@pytest.mark.parametrize("kind", [*list(CHANGES)[:2], *SLOW])
def test_an_image_that_changes_after_it_was_listed(
    kind: str, data: Path, whole: Path, tmp_path: Path, ended: Callable[..., None]
) -> None:
    config, copy = _config(data), tmp_path / "copy"
    shutil.copytree(data, copy)
    with after(resume, "set_up", lambda: CHANGES[kind](data / "cat" / "3.png")):
        message = error_of("train", *flags(config, tmp_path / "run"))
    assert message.startswith("cat/3.png cannot be read as an image: ")
    assert "Mend or remove the file" in message
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    assert train(config, tmp_path / "run") == 0
    assert_identical(final_state(config, tmp_path / "run"), final_state(config, whole))
    assert metrics(tmp_path / "run") == metrics(whole)
    ended(f"image {kind} between listing and reading", "one clear error")
    ended(f"image {kind} between listing and reading", "resumed", "when it is back")


@pytest.mark.long
def test_images_that_come_while_a_run_trains(data: Path, tmp_path: Path, ended: Callable[..., None]) -> None:
    with after(resume, "set_up", lambda: picture(data / "cat" / "new.png", 9)):
        assert train(_config(data), tmp_path / "run") == 0
    assert train(_config(data), tmp_path / "run") == 0
    assert "cat/new.png" not in (tmp_path / "run" / "split.json").read_text()
    ended("image that comes after listing", "finished")


@pytest.mark.long
def test_the_other_commands_meet_an_image_that_vanishes(data: Path, tmp_path: Path, ended: Callable[..., None]) -> None:
    from cnn_jax.checking import listing
    from cnn_jax.data import paths

    workdir = tmp_path / "run"
    assert train(_config(data), workdir) == 0
    split = json.loads((workdir / "split.json").read_text())["splits"]["validation"]
    image = data / split[0]
    content = image.read_bytes()

    with after(run_evaluation, "open_data", image.unlink), nothing_changed(workdir):
        assert error_of("evaluate", f"--checkpoint={workdir}").startswith(f"{split[0]} cannot be read as an image")
    ended("image vanishes between listing and reading", "one clear error", "evaluate")
    image.write_bytes(content)
    with after(paths, "everything", image.unlink):
        assert run("predict", data, f"--checkpoint={workdir}", f"--output={tmp_path / 'p.csv'}") == 0
    with (tmp_path / "p.csv").open(newline="") as file:
        errors = [row["path"] for row in csv.DictReader(file) if row["class_name"].startswith("error: ")]
    assert errors == [str(image)]
    ended("image vanishes between listing and reading", "finished", "predict, with a row that says so")
    image.write_bytes(content)
    with after(listing, "list_images", image.unlink):
        assert run("check_data", data, f"--json={tmp_path / 'c.json'}", f"--html={tmp_path / 'c.html'}") == 1
    found = json.loads((tmp_path / "c.json").read_text())
    assert "No such file or directory" in json.dumps(found)
    ended("image vanishes between listing and reading", "finished", "check_data, with a finding")
    with after(paths, "expand", image.unlink):
        image.write_bytes(content)
        arguments = (image, data / "dog" / "1.png", f"--checkpoint={workdir}", f"--output={tmp_path / 'x'}")
        assert attempt("explain", *arguments, "--methods", "grad-cam") == (0, "")
    ended("image vanishes between listing and reading", "finished", "explain, which says so")


PIECES = ("split.json", "config.json", "classes.json", "metrics.jsonl", "result.json")
"""Files of a run directory; evaluation needs the first alone."""
DAMAGES = ("gone", "cut short", "zeros")


@pytest.mark.long
@pytest.mark.parametrize("what", ["brackets", *(pytest.param(w, marks=pytest.mark.slow) for w in DAMAGES)])
@pytest.mark.parametrize("piece", PIECES)
def test_a_run_directory_with_a_damaged_piece(
    piece: str, what: str, finished_run: Path, tmp_path: Path, ended: Callable[..., None]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    path = workdir / piece
    content = path.read_bytes()
    damaged = {"cut short": content[: len(content) // 2], "brackets": b"[" * 100_000, "zeros": bytes(len(content))}
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged[what])
    code, message = attempt("evaluate", f"--checkpoint={workdir}")
    if piece == "split.json":
        assert code == 2
        assert (
            "is gone: put it back" in message if what == "gone" else "cannot be read as a record of splits" in message
        )
        ended("damaged or missing piece of a run directory", "one clear error", piece)
    else:
        assert (code, message) == (0, "")
        assert (workdir / "report.html").exists()
        ended("damaged or missing piece of a run directory", "finished", piece)
