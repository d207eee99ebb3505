"""`python -m cnn_jax`: commands and experiments on 80 columns, and the completion of their flags in three shells."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cnn_jax.__main__ import main, overview
from cnn_jax.cli import completion, flag_list
from cnn_jax.cli.command_list import PACKAGE, commands
from cnn_jax.config.experiments import list_experiments
from cnn_jax.training.run.logs import Reporter
from tests.test_command_line import PACKAGE_PARENT, run_process

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_every_command_and_experiment_is_listed_with_what_it_is_for(tmp_path: Path) -> None:
    finished = run_process("-X", "importtime", "-m", "cnn_jax", tuning=False, folder=tmp_path)
    assert finished.code == 0
    for name in [*commands(), *list_experiments()]:
        assert re.search(rf"^  {name} +[A-Z]\w+", finished.out, re.MULTILINE), name
    imported = set(re.findall(r"\| +(\S+)$", finished.err, re.MULTILINE))
    assert not imported & {"jax", "flax", "tensorflow", "keras", "numpy"}


def test_an_experiment_that_cannot_be_read_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    for name, content in {"half.py": b"def (", "zero.py": b"\0"}.items():
        (tmp_path / "experiments" / name).write_bytes(content)
    (tmp_path / "experiments" / "folder.py").mkdir()
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("half", "zero", "folder"):
        assert [line for line in lines if line.split() == [name, "(cannot", "be", "read)"]], name


def test_every_module_that_can_be_started_is_a_command() -> None:
    started = {path.stem for path in PACKAGE.glob("*.py") if "command_line.run(" in path.read_text()}
    assert set(commands()) == started - {"__main__"}
    assert next(iter(commands())) == "check_data"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_list_fits_the_terminal(width: int) -> None:
    lines = list(overview(width))
    assert max(map(len, lines)) <= max(width, 73)  # the commands at its end are never broken
    assert all(len(line) <= width for line in lines if "python -m" not in line)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The file that pip makes of the entry point `cnn-jax`."""
    entry = tomllib.loads(PYPROJECT.read_text())["project"]["scripts"]["cnn-jax"]
    module, _, function = entry.partition(":")
    path = tmp_path / "bin" / "cnn-jax"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["train", "--exp=no_such"], 2, "no_such"),
        (["check-data", "no/such/folder"], 2, "no/such/folder"),
        (["summarize", "--exp=quickstart", "--classes=3"], 0, ""),
        (["tarin"], 2, "no such command or flag"),
    ],
)
def test_the_program_runs_a_command_as_python_does_with_its_exit_code(
    program: Path, tmp_path: Path, argv: list[str], code: int, message: str
) -> None:
    finished = run_process(str(program), *argv, tuning=False, folder=tmp_path)
    assert finished.code == code
    assert message in finished.err
    assert "Traceback" not in finished.err
    name = argv[0].replace("-", "_")
    if name in commands():
        assert finished == run_process("-m", f"cnn_jax.{name}", *argv[1:], tuning=False, folder=tmp_path)


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert re.fullmatch(
        r"cnn_jax \d+\.\d+.*\n", run_process("-m", "cnn_jax", "--version", tuning=False, folder=tmp_path).out
    )


@pytest.mark.sample(2)
@pytest.mark.parametrize("command", commands())
def test_help_fits_80_columns_without_colour_and_says_what_the_command_is_for(command: str, tmp_path: Path) -> None:
    code = (
        f"import sys; from cnn_jax import {command}; from cnn_jax.cli import command_line\n"
        f"sys.argv = ['x', '--help']; command_line.run({command}.main)"
    )
    environment = {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": PACKAGE_PARENT, "CNN_JAX_NO_TUNING": "1", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment | {"PYTHONUTF8": "1"},
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    described, _, flags = done.stdout.partition("\nusage: ")
    assert all(len(line) <= 80 or line.startswith("    ") for line in described.splitlines())  # but for examples
    assert f"    python -m cnn_jax.{command} " in described
    assert flags.startswith(f"python -m cnn_jax.{command} ")
    assert max(map(len, flags.splitlines()[1:])) <= 80


ASKED = {
    "-m cnn_jax.e": None,
    "-m cnn_jax.train --model.nam": ["--model.name"],
    "-m cnn_jax.train --model.name vgg": ["vgg16", "vgg19"],
    "-m cnn_jax.train --model.name=vgg": ["--model.name=vgg16", "--model.name=vgg19"],
    "-m cnn_jax.train --exp=mobilenet_si": ["--exp=mobilenet_sign_digits"],
    "-m cnn_jax.train --train.feature-c": ["--train.feature-cache"],
    "-m cnn_jax.train --model.image_s": ["--model.image_size"],
    "-m cnn_jax.train --epochs=3 --data.csv.p": ["--data.csv.path"],
    "other.py --mod": [],
    "-m other.train --mod": [],
    "-m cnn_jax.no_such_command --mod": [],
}
"""What is typed behind Python's name, and what Tab may make of its last word; None: the commands that begin so."""


def completed(asked: str) -> list[str]:
    found = ASKED[asked]
    return [f"cnn_jax.{name}" for name in commands() if name.startswith("e")] if found is None else found


def ask(shell: str, script: str, folder: Path, *arguments: str) -> list[list[str]]:
    """What the shell prints, a list of lines for each `--` that it prints behind them."""
    (folder / "ask").write_text(script)
    environment = {"PYTHONPATH": PACKAGE_PARENT, "PATH": "/usr/bin:/bin", "HOME": str(folder), "TERM": "dumb"}
    environment |= {"CNN_JAX_CACHE": str(folder / "cache"), "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}
    command = [shell, *(["-f"] if shell == "zsh" else []), str(folder / "ask"), sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    blocks: list[list[str]] = [[]]
    for line in done.stdout.splitlines():
        if line == "--":
            blocks.append([])
        elif line:
            blocks[-1].append(line)
    return blocks[:-1]


ZSH = """
compdef() { }
compadd() { while [[ $1 != -- ]]; do shift; done; shift; print -rl -- "$@"; }
_python() { }
"""
"""What zsh's own completion has."""


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"needs {shell}")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["chec"], ["check_data"]),
        (["train", "--model.nam"], ["--model.name"]),
        (["check-data", "--data.csv.p"], ["--data.csv.path"]),
        (["train", "--exp=mobilenet_si"], ["--exp=mobilenet_sign_digits"]),
        (["no_such", "--mod"], []),
    ],
)
def test_words_behind_the_program_are_completed_as_those_behind_python(words: list[str], expected: list[str]) -> None:
    assert [found for found, _ in completion.choices(completion.as_module(words), list(commands()))] == expected


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in ("bash", "zsh", "fish")])
def test_tab_completes_behind_the_program(shell: str, program: Path, tmp_path: Path) -> None:
    script = {
        "bash": 'COMP_WORDS=("$2" train --model.nam) COMP_CWORD=2; _cnn_jax; printf "%s\n" "${COMPREPLY[@]}" --',
        "zsh": 'words=("$2" train --model.nam) CURRENT=3; _cnn_jax; print -r -- --',
        "fish": 'complete -C "cnn-jax train --model.nam"; printf "%s\n" --',
    }
    before = {
        "bash": 'eval "$("$1" -m cnn_jax --completion)"',
        "zsh": f'{ZSH}eval "$("$1" -m cnn_jax --completion zsh)"',
        "fish": "set -p PATH (dirname $argv[2]); $argv[2] --completion fish | source",
    }
    (answer,) = ask(shell, f"{before[shell]}\n{script[shell]}\n", tmp_path, str(program))
    assert [line.split("\t")[0] for line in answer] == ["--model.name"]


@needs("bash")
def test_tab_completes_commands_flags_and_values_in_bash_and_leaves_other_programs_alone(tmp_path: Path) -> None:
    lines = [line.replace("=", " = ") for line in ASKED]  # as bash divides them
    script = """
eval "$("$1" -m cnn_jax --completion)"
ask() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _cnn_jax; printf '%s\n' "${COMPREPLY[@]}" --; }
complete -p python python3; echo --
"""
    registered, *answers = ask("bash", script + "\n".join(f'ask "$1" {line}' for line in lines), tmp_path)
    for asked, answer in zip(ASKED, answers, strict=True):
        expected = [word.rpartition("=")[2] for word in completed(asked)]
        assert answer == expected, asked
    assert all("-o default" in line for line in registered)  # files, as without it


@pytest.mark.long
@needs("zsh")
def test_tab_completes_the_same_in_zsh(tmp_path: Path) -> None:
    script = f"""{ZSH}
eval "$("$1" -m cnn_jax --completion zsh)"
ask() {{ local -a words=("$@"); local CURRENT=$#; _cnn_jax; print -r -- --; }}
"""
    answers = ask("zsh", script + "\n".join(f'ask "$1" {line}' for line in ASKED), tmp_path)
    assert dict(zip(ASKED, answers, strict=True)) == {asked: completed(asked) for asked in ASKED}


@pytest.mark.long
@needs("fish")
def test_tab_completes_the_same_in_fish_with_descriptions(tmp_path: Path) -> None:
    script = """
set -p PATH (dirname $argv[1])
python -m cnn_jax --completion fish | source
"""
    lines = [f'complete -C "python {line}"; printf "%s\\n" --' for line in ASKED]
    answers = ask("fish", script + "\n".join(lines), tmp_path)
    for asked, answer in zip(ASKED, answers, strict=True):
        words = [line.split("\t")[0] for line in answer]
        if completed(asked):
            assert words == completed(asked), asked
    assert answers[1][0].startswith("--model.name\tThe architecture; `keras` is the one that")


def test_the_flags_are_asked_of_a_command_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path))
    flags = completion.flags_of("evaluate")
    assert [flag.name for flag in flags[:3]] == ["--checkpoint", "--split", "--compare"]
    assert {flag.name: flag.choices for flag in flags}["--model.resize"] == ("squash", "crop", "pad")
    monkeypatch.setattr(flag_list, "read", lambda parse: pytest.fail("asked again"))
    assert completion.flags_of("evaluate") == flags
    (kept,) = (tmp_path / "flags").iterdir()
    kept.write_text("[1")
    monkeypatch.setattr(flag_list, "read", lambda parse: [])
    assert completion.flags_of("evaluate") == []


def test_the_table_of_epochs_fits_80_columns_and_its_heads_stand_over_their_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reporter = Reporter()
    for name in ("1/5", "100/1000"):
        reporter.epoch(name, {"loss": 12.3, "accuracy": 1.0}, {"loss": 123.4, "accuracy": 0.5}, 1e-4, 12_345, True)
    heads, *rows = capsys.readouterr().out.splitlines()
    ends = [match.end() for match in re.finditer(r"(?:train |val\. )?\S+", heads)][1:]
    for row in rows:
        assert len(row) <= 80
        assert [match.end() for match in re.finditer(r"\S+", row)][1:-1] == ends
