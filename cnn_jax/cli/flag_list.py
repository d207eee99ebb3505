"""The flags of a command as data: what `--help` shows of many, and what Tab completes."""

import ast
import contextlib
import io
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cnn_jax.errors import ConfigError

PRINT = ("--tyro-print-completion", "bash")
"""Has tyro print a script, in which a line holds all flags as a literal of Python."""

ALL = "--help-all"
"""Flag of every command: the help of all flags."""
WIDEST = 100


@dataclass(frozen=True)
class Flag:
    """One of a command."""

    name: str
    """With its dashes."""
    values: str
    """What may be given: `INT`, `{auto,on,off}`; empty where nothing is."""
    choices: tuple[str, ...]
    text: str
    """Its help, with the default."""

    @property
    def group(self) -> str:
        """What its name has before the last dot; empty for flags of the command itself."""
        return self.name.removeprefix("--").rpartition(".")[0]


def read(parse: Callable[[Sequence[str]], Any]) -> list[Flag]:
    """The flags of a command whose command line `parse` parses; none where tyro says them in another way."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        parse(PRINT)
    found = re.search(r"^COMPLETION_SPEC = (.*)$", printed.getvalue(), re.MULTILINE)
    return [_flag(option) for option in ast.literal_eval(found[1])["options"][1:]] if found else []  # but --help


def _flag(option: dict[str, Any]) -> Flag:
    values, bullet, text = option["description"].partition(" • ")
    if not bullet:
        values, text = "", values
    return Flag(option["flags"][-1], values, tuple(option.get("choices", ())), " ".join(text.split()))


def group_asked_for(argv: Sequence[str]) -> str:
    """GROUP of `--help GROUP` or `--help=GROUP`, with dashes; empty without."""
    for word, following in zip(argv, [*argv[1:], "-"], strict=False):
        if word.startswith("--help="):
            return word.partition("=")[2].replace("_", "-")
        if word in ("-h", "--help"):
            return "" if following.startswith("-") else following.replace("_", "-")
    return ""


def help_lines(prog: str, flags: Sequence[Flag], usual: Sequence[str], group: str, width: int) -> Iterator[str]:
    """The help of the flags of a group, or of the command's own ones and the `usual` ones.

    Raises:
        ConfigError: there is no such group.
    """
    counts = Counter(flag.group for flag in flags if flag.group)
    if group and group not in counts:
        raise ConfigError(f"--help {group}: there is no such group of flags; there are: {', '.join(counts)}")
    wanted = [f for f in flags if (f.group == group if group else not f.group or f.name in usual)]
    width = min(width, WIDEST)
    yield f"usage: {prog} [-h] [OPTIONS]"
    yield ""
    for flag in wanted:
        yield from textwrap.wrap(f"{flag.name} {flag.values}", width, subsequent_indent=" " * 8)
        yield from textwrap.wrap(flag.text, width, initial_indent=" " * 4, subsequent_indent=" " * 4)
    yield ""
    groups = ", ".join(f"{name} ({count})" for name, count in counts.items())
    text = f"These are {len(wanted)} of {len(flags)} flags. --help GROUP has those of a group, {ALL} has all: {groups}"
    yield from textwrap.wrap(text, width)
