"""Strange names of files, classes and directories through every command: nothing is obeyed, nothing is lost."""

import csv
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_jax import html
from cnn_jax.config import Config
from tests.faults.commands import assert_harmless, error_of, nothing_changed, run
from tests.faults.strange import NAMES, NO_TEXT, folder, picture
from tests.report.reading import read_page
from tests.training.helpers import SMALL_CNN, flags, with_

SMALL = with_(SMALL_CNN, data={"batch_size": 8, "steps_per_epoch": 2}, train={"epochs": 1, "tensorboard": True})


def assert_page_is_harmless(path: Path) -> None:
    """No script but the package's own, no handler, nothing from elsewhere."""
    page = read_page(path)
    policy = next(meta.attributes["content"] for meta in page.all("meta") if "http-equiv" in meta.attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "".join(script.text for script in page.all("script")).strip() in (
        "",
        str(html.script("report.js").text).strip(),
    )
    for tag, attributes in ((element.tag, element.attributes) for element in page.below):
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag not in ("iframe", "object", "embed", "base", "link"), tag
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), (tag, attributes)


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Config]:
    """A data set of strange names, a run on it in a directory of such a name, and the configuration."""
    root = tmp_path_factory.mktemp("strange")
    data = folder(root / (NAMES["unicode"] + NAMES["html"]))
    workdir = root / ("\x1b]0;owned\x07" + NAMES["percent"] + NAMES["spaces"] + NAMES["right to left"])
    config = with_(SMALL, data={"dataset": f"folder:{data}"})
    assert run("train", flags(config, root / "experiment")[0], f"--workdir={workdir}") == 0
    return data, workdir, config


@pytest.mark.long
def test_training(strange, capsys: pytest.CaptureFixture[str], ended: Callable[..., None], tmp_path: Path) -> None:
    _, workdir, config = strange
    assert run("train", flags(config, tmp_path / "experiment")[0], f"--workdir={workdir}") == 0
    assert_harmless(capsys.readouterr().out)
    assert json.loads((workdir / "classes.json").read_text()) == sorted(NAMES.values())
    assert len(json.loads((workdir / "split.json").read_text())["splits"]["train"]) == 2 * len(NAMES) + 1
    assert_page_is_harmless(workdir / "report.html")
    for kind in NAMES:
        ended("strange name", "finished", kind)


@pytest.mark.long
def test_reading_commands(strange, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data, workdir, _ = strange
    checkpoint = f"--checkpoint={workdir}"
    assert run("evaluate", checkpoint, "--flip-averaging", f"--compare={workdir}") == 0
    assert_page_is_harmless(workdir / "report.html")
    shutil.copytree(workdir, tmp_path / "copy")
    assert run("compare", workdir, tmp_path / "copy", f"--output={tmp_path / 'c.html'}") == 0
    assert_page_is_harmless(tmp_path / "c.html")
    assert run("predict", data / "validation", checkpoint, f"--output={tmp_path / 'p.csv'}") == 0
    assert run("predict", data / "validation", checkpoint, "--top=99") == 0
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert {row["class_name"] for row in rows} <= set(NAMES.values())
    paths = {row["path"] for row in rows}
    named = {str(data / "validation" / name / f"{name}{i}.png") for name in NAMES.values() for i in range(2)}
    assert paths == {*named, str(data / "validation" / NAMES["spaces"] / f"{NO_TEXT}.png")}
    with nothing_changed(workdir):
        pictures = [data / "validation" / name / f"{name}0.png" for name in list(NAMES.values())[:6]]
        assert run("explain", *pictures, checkpoint, f"--output={tmp_path / 'x'}", "--methods", "grad-cam") == 0
    assert_page_is_harmless(tmp_path / "x" / "index.html")
    written = {path.parent.resolve() for path in (tmp_path / "x").rglob("*")}
    assert all(path.is_relative_to(tmp_path / "x") or path == tmp_path for path in written)
    for kind in ("keras-h5", "stablehlo"):
        assert run("export", checkpoint, f"--format={kind}") == 0
    assert_harmless(capsys.readouterr().out)


@pytest.mark.long
def test_check_data(strange, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data, _, _ = strange
    outputs = (f"--html={tmp_path / 'c.html'}", f"--json={tmp_path / 'c.json'}", f"--preview={tmp_path / 'c.png'}")
    with nothing_changed(data):
        assert run("check_data", data, *outputs) in (0, 1)
    assert_harmless(capsys.readouterr().out)
    assert_page_is_harmless(tmp_path / "c.html")


def test_an_error_about_a_strange_name_is_printed_without_being_obeyed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnn_jax import predict
    from cnn_jax.cli import command_line

    monkeypatch.setattr("sys.argv", ["predict", str(tmp_path / NAMES["terminal escape"]), "--checkpoint=x"])
    with pytest.raises(SystemExit) as left:
        command_line.run(predict.main)
    assert left.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert_harmless(said)


def test_a_class_whose_name_is_no_text_is_refused_before_training(tmp_path: Path, ended: Callable[..., None]) -> None:
    for number, name in enumerate((NO_TEXT, "dog")):
        for i in range(4):
            picture(tmp_path / "data" / name / f"{i}.png", 100 * number + i)
    config = with_(SMALL, data={"dataset": f"folder:{tmp_path / 'data'}", "split": (0.5, 0.5, 0.0)})
    message = error_of("train", *flags(config, tmp_path / "run"))
    assert message == "caf\\xe9: this name is not UTF-8, so it cannot be saved: rename it"
    assert not (tmp_path / "run").exists()
    ended("class whose name is not UTF-8", "one clear error")


@pytest.mark.parametrize("name", ["[test]", "all*", "which?"])
def test_a_run_directory_whose_checkpoints_could_not_be_read_back_is_refused(
    name: str, tmp_path: Path, ended: Callable[..., None]
) -> None:
    message = error_of("train", *flags(SMALL_CNN, tmp_path / "run")[:1], f"--workdir={tmp_path / name}")
    assert message.startswith(f"--workdir={tmp_path / name}: with [, * or ? in the path")
    ended("run directory with [, * or ? in its path", "one clear error")


@pytest.mark.long
def test_links(tmp_path: Path, ended: Callable[..., None]) -> None:
    """A data set of links to folders and files, with one link that leads round in a circle and one that hangs."""
    real = tmp_path / "real"
    for number, name in enumerate(("cat", "dog")):
        for i in range(6):
            picture(real / name / f"{i}.png", 100 * number + i)
    data = tmp_path / "data"
    (data / "dog").mkdir(parents=True)
    os.symlink(real / "cat", data / "cat")
    for i in range(6):
        os.symlink(real / "dog" / f"{i}.png", data / "dog" / f"{i}.png")
    os.symlink("..", data / "dog" / "round")
    config = with_(SMALL, data={"dataset": f"folder:{data}", "split": (0.5, 0.5, 0.0)})
    os.symlink(tmp_path / "elsewhere", tmp_path / "link to run")
    (tmp_path / "elsewhere").mkdir()
    assert run("train", *flags(config, tmp_path / "link to run")) == 0
    assert (tmp_path / "elsewhere" / "result.json").exists()
    ended("links to files, folders and the run directory, and round in a circle", "finished")
    os.symlink(tmp_path / "gone.png", data / "dog" / "hangs.png")
    message = error_of("train", *flags(config, tmp_path / "other"))
    assert message.startswith("dog/hangs.png cannot be read as an image: ")
    ended("link that leads nowhere", "one clear error")
    os.symlink("itself", tmp_path / "itself")
    assert "cannot be" in error_of("train", f"{flags(config, tmp_path / 'x')[0]}", f"--workdir={tmp_path / 'itself'}")
    ended("run directory that is a link to itself", "one clear error")


@pytest.mark.long
@pytest.mark.parametrize("length", [255, 256, 5000])
def test_long_names_of_run_directories(length: int, tmp_path: Path, ended: Callable[..., None]) -> None:
    workdir = tmp_path / ("ü" * 20 + "r" * (length - 40))
    arguments = [flags(with_(SMALL_CNN, train={"epochs": 1}), tmp_path / "run")[0], f"--workdir={workdir}"]
    if length == 255:
        assert run("train", *arguments) == 0
        ended("run directory with a name of 255 bytes", "finished")
    else:
        assert error_of("train", *arguments) == f"--workdir={workdir} cannot be read: File name too long"
        ended("run directory with a name that is too long", "one clear error")


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_no_file_is_named_and_not_waited_for(
    kind: str, finished_run: Path, tmp_path: Path, ended: Callable[..., None]
) -> None:
    data = tmp_path / "data"
    for number, name in enumerate(("cat", "dog")):
        for i in range(4):
            picture(data / name / f"{i}.png", 100 * number + i)
    odd = data / "cat" / "9.png"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "device":
        os.symlink("/dev/zero", odd)
    else:
        os.mknod(odd, 0o600 | stat.S_IFSOCK)
    config = with_(SMALL, data={"dataset": f"folder:{data}", "split": (0.5, 0.5, 0.0)})
    expected = f"{odd} is a pipe, socket or device and no image file: remove it"
    assert error_of("train", *flags(config, tmp_path / "run")) == expected
    for named in (data, data / "cat" / "*"):
        assert error_of("predict", named, f"--checkpoint={finished_run}") == expected
    assert run("check_data", data, f"--json={tmp_path / 'c.json'}") == 1
    assert "no regular file" in (tmp_path / "c.json").read_text()
    ended(f"{kind} among the images", "one clear error")
