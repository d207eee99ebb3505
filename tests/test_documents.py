"""What README and docs say can be done: every command runs or parses, every flag, field, file and link exists."""

import contextlib
import dataclasses
import functools
import importlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import train
from cnn_jax.cli import command_line
from cnn_jax.cli.command_list import commands
from cnn_jax.config import Config
from cnn_jax.config.experiments import list_experiments
from cnn_jax.errors import ConfigError
from tests.conftest import write_image

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS += sorted((ROOT / "examples").rglob("*.md"))
COMMAND = re.compile(r"^(?:\w+=\S+ )*python3? (?:-m (cnn_jax)(?:\.(\w+))?|([\w/]+\.py)|-m pytest)\b ?(.*)")
"""Environment, then a command with its flags, or a script."""
PLACEHOLDERS = {
    "HOST:PORT": "localhost:7777",
    "LAYER": "head",
    "=N": "=2",
    "=I": "=1",
    "$i": "1",
    "=resnet18": "=mobilenet_v2",  # which docs/adding-a-model.md adds
}
SECTIONS = "model|data|optimizer|train|checkpoint"


def blocks(document: Path, language: str = "") -> list[str]:
    """Fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def spans(document: Path) -> list[str]:
    """Code between backticks, outside of blocks."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [span.strip() for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)]


def lines(document: Path) -> Iterator[str]:
    """Commands may stand in a block, in an indented line, or between backticks."""
    for block in blocks(document):
        yield from (line.partition("   ")[0].strip() for line in re.sub(r"\\\n\s*", "", block).splitlines())
    yield from (line.strip() for line in re.findall(r"^ {4}(python .*)$", document.read_text(), re.MULTILINE))
    for span in spans(document):
        yield re.sub(r'^eval "\$\((.*)\)"$', r"\1", span)


def filled(text: str) -> str:
    """With values for what a reader has to put in."""
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


def commands_of(document: Path) -> list[tuple[str, list[str]]]:
    """(command, arguments) of each command that starts one; command "" is `python -m cnn_jax` itself."""
    found = []
    for line in lines(document):
        match = COMMAND.match(line)
        if match and match[1] and "…" not in line:
            found.append((match[2] or "", shlex.split(filled(re.sub(r" [&|>].*", "", match[4])))))
    return found


def every(kind: str) -> list:
    """Test parameters: all commands, or all flags, of all documents."""
    if kind == "commands":
        return [pytest.param(d, a, id=f"{p.stem}: {d} {' '.join(a)}") for p in DOCUMENTS for d, a in commands_of(p)]
    flags = {span for path in DOCUMENTS for span in spans(path) if re.match(r"--\w", span) and "…" not in span}
    return sorted(flags)


@functools.cache
def arguments_of(command: str) -> type:
    return importlib.import_module(f"cnn_jax.{command}").Arguments


REQUIRED = {
    "train": ["--exp=mobilenet_ft"],
    "summarize": ["--exp=mobilenet_ft"],
    "check_data": ["photos"],
    "predict": ["photos"],
    "explain": ["photos"],
    "serve": ["runs/first"],
    "evaluate": ["--checkpoint=runs/first"],
    "export": ["--checkpoint=runs/first", "--format=keras-h5"],
}
"""What a command cannot do without; a document may show a flag alone."""


def parse(command: str, argv: list[str]) -> None:
    """As the command does it, without doing anything."""
    parser = (
        command_line.parse_with_experiment
        if "config" in arguments_of(command).__dataclass_fields__
        else command_line.parse
    )
    parser(arguments_of(command), argv, command=command, description="")


def parses(command: str, argv: list[str]) -> bool:
    """Whether the command understands them, alone or with what it requires."""
    given = {argument.partition("=")[0] for argument in argv}
    missing = [a for a in REQUIRED.get(command, []) if a.partition("=")[0] not in given]
    for arguments in ([*missing, *argv], argv) if missing else (argv,):
        with contextlib.suppress(SystemExit, ConfigError):  # a run and a file are alternatives
            parse(command, arguments)
            return True
    return False


@functools.cache
def flags_of(command: str) -> frozenset[str]:
    """All flags that the help of a command names, with dashes."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        parse(command, ["--help-all"])
    return frozenset(re.findall(r"--[a-z][\w.-]*", out.getvalue()))


@pytest.mark.parametrize(("command", "arguments"), every("commands"))
def test_every_command_of_the_documents_is_understood(
    command: str,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # where an experiment is found by its name as after installation
    if not command:
        assert importlib.import_module("cnn_jax.__main__").main(arguments) == 0
        return
    assert command in commands()
    if arguments[:1] in (["--help"], ["--help-all"]):
        with pytest.raises(SystemExit) as ended:
            parse(command, arguments)
        assert ended.value.code == 0
        return
    assert parses(command, arguments), capsys.readouterr().err


@pytest.mark.parametrize("span", every("flags"))
def test_every_flag_of_the_documents_belongs_to_a_command(
    span: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = shlex.split(filled(span))
    names = {argument.partition("=")[0].replace("_", "-") for argument in argv if argument.startswith("--")} - {"--"}
    having = [command for command in commands() if names <= flags_of(command) | {"--help", "--help-all"}]
    elsewhere = names <= other_flags()
    assert having or elsewhere, f"{span}: no command has it"
    if "=" in span.rstrip("=") or " " in span:  # more than the name of a flag
        assert elsewhere or any(parses(command, argv) for command in having), f"{span}: {capsys.readouterr().err}"


@functools.cache
def other_flags() -> frozenset[str]:
    """Of `python -m cnn_jax` itself, and of the launchers."""
    files = [ROOT / "cnn_jax" / "__main__.py", *(ROOT / "launch").glob("*.sh"), *(ROOT / "benchmarks").glob("*.py")]
    return frozenset(re.findall(r"--[a-z][\w-]*", "".join(path.read_text() for path in files)))


def fields(config: object, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        yield prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_field_script_target_and_link_of_a_document_exists(document: Path) -> None:
    known = set(fields(Config()))
    for span in spans(document):
        if match := re.fullmatch(rf"(?:config\.)?((?:{SECTIONS})\.[a-z_.]+?)(?:=.*)?\.?", span):
            assert match[1] in known or (ROOT / "cnn_jax" / f"{span}").exists(), f"{span} is no field"
    for line in lines(document):
        if (match := COMMAND.match(line)) and match[3]:
            assert (ROOT / match[3]).is_file(), line
        if match := re.match(r"make ([\w-]+)", line):
            assert re.search(rf"^{match[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_picture_of_the_documents_is_made_by_the_script_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    made = {name for _, names in importlib.import_module("pictures").GROUPS.values() for name in names}
    assert made == {path.stem for path in (ROOT / "docs" / "images").iterdir()}
    shown = set(re.findall(r"\]\([\w/]*images/(\w+)\.png\)", "".join(path.read_text() for path in DOCUMENTS)))
    assert shown == made


def test_every_page_is_in_the_contents_of_the_readme() -> None:
    listed = set(re.findall(r"^- .*?\]\(([^)#]+)\)", (ROOT / "README.md").read_text(), re.MULTILINE))
    pages = {str(path.relative_to(ROOT)) for path in DOCUMENTS} | {"docs/course.ipynb"}
    assert pages - listed == {"README.md"}


SHRUNK = (
    "--model.name=simple_cnn --model.weights=none --model.image_size=16 --train.freeze_until=none --train.epochs=1 "
    "--data.batch_size=4 --train.tensorboard=False"
)
"""What makes a training command of the README short; the networks that it names are tested elsewhere."""


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)


def shrunk(command: str, arguments: list[str]) -> list[str]:
    """The arguments with more flags, which make the command quick."""
    if command == "train":
        return [*arguments, *SHRUNK.split()]
    if command == "sweep":  # of the layers that it names, the short network has none but the ends
        kept = [argument for argument in arguments if not argument.startswith("conv_")]
        return [*kept, *(flag for flag in SHRUNK.split() if "freeze_until" not in flag)]
    if command == "explain":
        flags = [argument for argument in arguments if argument.startswith("--")]
        return [*flags, "--channels=2", "--methods", "grad-cam", "--", *(a for a in arguments if a not in flags)]
    return arguments


@pytest.fixture
def beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader of the README stands: photographs in a folder, one beside it, and no run yet."""
    for index, name in enumerate(("cats", "dogs")):
        for i in range(10):
            write_image(tmp_path / "photos" / name / f"{i}.jpg", noise(10 * index + i))
    write_image(tmp_path / "photo.jpg", noise(1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.long
def test_the_commands_of_the_readme_run_in_their_order_and_do_what_it_says(
    beginning: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []
    for command, arguments in commands_of(ROOT / "README.md"):
        if command in ("", "verify_weights", "serve"):  # prints; needs a published file; ends when it is told to
            continue
        argv = shrunk(command, arguments)
        code = importlib.import_module(f"cnn_jax.{command}").main(argv)
        assert code == 0 or (command, code) == ("check_data", 1), (
            command,
            argv,
        )  # 1: the photographs of the test are tiny
        ran.append(command)
    assert {"train", "sweep", "evaluate", "predict", "explain", "export", "check_data", "summarize"} <= set(ran)
    run = Path("runs/mobilenet_ft")
    for made in ("check.html", "classes.csv", run / "report.html", run / "explain" / "index.html"):
        assert Path(made).stat().st_size > 100, made
    assert json.loads((run / "result.json").read_text())["status"] == "completed"
    capsys.readouterr()
    for block in blocks(ROOT / "README.md", "python"):
        exec(compile(block, "README.md", "exec"), {})
    assert re.fullmatch(r"\('(cats|dogs)',\)\n", capsys.readouterr().out)


def test_a_command_that_went_stale_would_be_found() -> None:
    assert not parses("train", ["--exp=mobilenet_ft", "--model.alfa=0.5"])
    assert not parses("evaluate", ["--checkpoint=runs/first", "--flip=True"])
    assert parses("train", ["--exp=mobilenet_ft", "--model.alpha=0.5"])
    readme = commands_of(ROOT / "README.md")
    assert ("train", ["--exp=mobilenet_ft", "--data.dataset=folder:photos"]) in readme
    assert len(readme) > 9


@pytest.mark.parametrize("name", sorted(list_experiments()))
def test_the_commands_in_the_docstring_of_an_experiment_are_understood(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = re.findall(r"^ *python -m cnn_jax\.train (.*?)(?: {2,}\(.*)?$", list_experiments()[name].read_text(), re.M)
    assert shown
    for line in shown:
        assert train.main([*shlex.split(line), "--print-config"]) == 0
    capsys.readouterr()
