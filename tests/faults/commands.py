"""Commands called in this process, which takes a second where a process of their own takes eight."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from cnn_jax.config import Config
from cnn_jax.errors import RunFailed, UserError
from tests.training.helpers import flags

CONTROLS = {chr(code) for code in (*range(32), *range(127, 160)) if chr(code) != "\n"}
"""What a terminal may obey; the end of a line is ours."""


def run(command: str, *arguments: object) -> int:
    """`python -m cnn_jax.COMMAND` with these arguments; raises what `command_line.run` prints as an error."""
    return import_module(f"cnn_jax.{command}").main([str(argument) for argument in arguments])


def train(config: Config, workdir: Path) -> int:
    """The command `train`, without the report, which takes as long as such a run."""
    return run("train", *flags(config, workdir), "--report=False")


def attempt(command: str, *arguments: object) -> tuple[int, str]:
    """The exit code, and the message of the one clear error if that was the end; any other error fails the test."""
    try:
        return run(command, *arguments), ""
    except (UserError, RunFailed) as error:
        return 2 if isinstance(error, UserError) else 1, str(error)


def error_of(command: str, *arguments: object) -> str:
    """The message of the one clear error with which a command ends; any other end fails the test."""
    code, message = attempt(command, *arguments)
    assert message, f"{command} ended with {code} and no error"
    return message


def files(*folders: Path) -> dict[Path, bytes]:
    """Every file below the folders with its content; links and special files as what they are."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_symlink():
                found[path] = b"link to " + bytes(path.readlink())
            elif path.is_file():
                found[path] = path.read_bytes()
            elif not path.is_dir():
                found[path] = b"special"
    return found


@contextmanager
def nothing_changed(*folders: Path, but: Sequence[Path] = ()) -> Iterator[None]:
    """Fail where any file below the folders is new, gone or another at the end; `but` names what may change."""

    def kept() -> dict[Path, bytes]:
        return {path: content for path, content in files(*folders).items() if not any(map(path.is_relative_to, but))}

    before = kept()
    yield
    after = kept()
    assert sorted(before) == sorted(after)
    assert [path for path, content in before.items() if after[path] != content] == []


def assert_harmless(text: str) -> None:
    """There is nothing in it that a terminal obeys."""
    assert not CONTROLS & set(text), sorted(CONTROLS & set(text))
