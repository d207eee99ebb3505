"""What Tab makes of a word behind `cnn-jax` or `python -m cnn_jax…`, for the three shells whose scripts call this.

`python -m cnn_jax.cli.completion WORD …` prints a choice a line for the last of the words, which follow Python's name:
the whole word, a tab, and what it is. `cnn-jax --choices WORD …` does so for the words behind `cnn-jax`.
"""

import contextlib
import hashlib
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from cnn_jax.cli import flag_list
from cnn_jax.cli.command_list import PACKAGE, commands
from cnn_jax.cli.flag_list import Flag
from cnn_jax.config.experiments import list_experiments
from cnn_jax.io.files import cache_folder
from cnn_jax.io.writing import write_atomically

SCRIPTS = {"bash": "completion.bash", "zsh": "completion.zsh", "fish": "completion.fish"}
"""Shell to the file that makes it ask."""


def script(shell: str) -> Path:
    """The file with what a shell evaluates."""
    return Path(__file__).with_name(SCRIPTS[shell])


def choices(words: Sequence[str], commands: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What the last word may become, and what that is."""
    *before, word = words
    if not before:  # behind `cnn-jax`
        yield from ((command, "") for command in commands if command.startswith(word))
    if "-m" not in before:
        return
    module = before.index("-m") + 1
    if len(before) == module:
        yield from ((name, "") for command in commands if (name := f"cnn_jax.{command}").startswith(word) and word)
        return
    command = before[module].removeprefix("cnn_jax.")
    if command not in commands or before[module] == command:
        return
    flags = {flag.name: flag for flag in flags_of(command)}
    name, equals, value = word.partition("=")
    if word.startswith("-") and equals:
        yield from ((f"{name}={found}", what) for found, what in _values(flags, name, value))
    elif word.startswith("-"):
        for flag in flags.values():
            shown = flag.name.replace("-", "_").replace("__", "--", 1) if "_" in word else flag.name
            if shown.startswith(word):
                yield shown, flag.text
    elif before[-1].startswith("--"):
        yield from _values(flags, before[-1], value=word)


def _values(flags: dict[str, Flag], name: str, value: str) -> Iterator[tuple[str, str]]:
    """Values of a flag that begin so, where they are known."""
    flag = flags.get(name.replace("_", "-"))
    known = list_experiments() if name == "--exp" else flag.choices if flag else ()
    yield from ((found, "") for found in known if found.startswith(value))


def flags_of(command: str) -> list[Flag]:
    """The flags of a command, from the cache folder where this version has put them there."""
    files = [PACKAGE / f"{command}.py", *sorted(PACKAGE.glob("config/*.py")), *sorted(PACKAGE.glob("*/options.py"))]
    state = [metadata.version("cnn_jax"), *((str(path), path.stat().st_mtime_ns) for path in files)]
    kept = cache_folder() / "flags" / f"{hashlib.sha256(repr(state).encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [Flag(**{**fields, "choices": tuple(fields["choices"])}) for fields in json.loads(kept.read_text())]
    found = flag_list.read(importlib.import_module(f"cnn_jax.{command}").main)
    with contextlib.suppress(OSError):  # the next Tab asks again
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, json.dumps([asdict(flag) for flag in found]))
    return found


def as_module(words: Sequence[str]) -> list[str]:
    """The words behind `cnn-jax` as those behind `python` that mean the same."""
    command, *rest = words or [""]
    return ["-m", f"cnn_jax.{command.replace('-', '_')}", *rest] if rest else [command]


def main(words: Sequence[str]) -> None:
    """Print the choices; nothing where anything goes wrong: the word stays as it is."""
    with contextlib.suppress(Exception, SystemExit):
        for found, what in choices(words or [""], list(commands())):
            print(f"{found}\t{what}")


if __name__ == "__main__":
    main(sys.argv[1:])
