"""List the commands and the experiments, or start one of the commands.

    cnn-jax                                           (the same as python -m cnn_jax)
    cnn-jax train --exp=quickstart                    (the same as python -m cnn_jax.train --exp=quickstart)
    eval "$(python -m cnn_jax --completion)"          (completion for bash, in its ~/.bashrc)
    eval "$(python -m cnn_jax --completion zsh)"      (for zsh, after compinit)
    python -m cnn_jax --completion fish | source      (for fish)

The list is made of the first line of each docstring; no command is imported for it.
"""

import ast
import runpy
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from cnn_jax.cli import command_line, completion
from cnn_jax.cli.command_list import commands
from cnn_jax.config.experiments import list_experiments
from cnn_jax.errors import EXIT_USAGE
from cnn_jax.io.escaping import as_it_is, printable

NAME_WIDTH = 24
NARROWEST, WIDEST = 60, 100


def main(argv: Sequence[str]) -> int:
    """Print the list, the version or the completion, or start a command; returns the exit code."""
    match argv:
        case [] | ["-h" | "--help"]:
            print("\n".join(overview(shutil.get_terminal_size().columns)))
        case ["--version"]:
            print(f"cnn_jax {metadata.version('cnn_jax')}")
        case ["--completion", *shell] if "".join(shell) in ("", *completion.SCRIPTS):
            print(completion.script("".join(shell) or "bash").read_text(), end="")
        case ["--choices", *words]:
            with as_it_is():  # a tab stands between a choice and what it is
                completion.main(completion.as_module(words))
        case [name, *rest] if (command := name.replace("-", "_")) in commands():
            _start(command, rest)
        case [name, *_]:
            print(
                f"error: {printable(name)}: there is no such command or flag; python -m cnn_jax lists them",
                file=sys.stderr,
            )
            return EXIT_USAGE
    return 0


def overview(width: int) -> Iterator[str]:
    """The lines of the list, for a terminal of so many columns."""
    width = min(max(width, NARROWEST), WIDEST)
    yield "Train and fine-tune convolutional image classifiers in JAX."
    yield ""
    yield "cnn-jax COMMAND --help, or python -m cnn_jax.COMMAND --help"
    yield from _list(commands(), width)
    yield ""
    yield "python -m cnn_jax.train --exp=EXPERIMENT"
    yield from _list(list_experiments(), width)
    yield ""
    yield "A first run, without a network:"
    yield "  python -m cnn_jax.train --exp=quickstart"
    yield "Your own photographs, a folder for each class:"
    yield "  python -m cnn_jax.train --exp=mobilenet_ft --data.dataset=folder:DIR"


def _list(files: dict[str, Path], width: int) -> Iterator[str]:
    for name, path in files.items():
        yield from textwrap.wrap(
            f"{printable(name):<{NAME_WIDTH}}{_first_line(path)}",
            width,
            initial_indent="  ",
            subsequent_indent=" " * (2 + NAME_WIDTH),
        )


def _first_line(path: Path) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes()))
    except (OSError, SyntaxError, ValueError):  # an experiment that is being written, or no text
        return "(cannot be read)"
    return (docstring or "").partition("\n")[0].partition(":")[0].rstrip(".")


def _start(command: str, argv: Sequence[str]) -> None:
    """Run a command's module as `python -m` does; the process ends with it."""
    sys.argv[1:] = argv
    runpy.run_module(f"cnn_jax.{command}", run_name="__main__", alter_sys=True)


def start() -> NoReturn:
    """What the program `cnn-jax` does."""
    command_line.run(main)


if __name__ == "__main__":
    start()
