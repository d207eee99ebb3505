"""List the commands and the experiments.

    python -m cnn_jax
    eval "$(python -m cnn_jax --completion)"          (completion for bash, in its ~/.bashrc)
    eval "$(python -m cnn_jax --completion zsh)"      (for zsh, after compinit)
    python -m cnn_jax --completion fish | source      (for fish)

Reads the first line of each docstring; imports none of them.
"""

import ast
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from cnn_jax.cli import command_line
from cnn_jax.cli.command_list import commands
from cnn_jax.cli.completion import SCRIPTS, script
from cnn_jax.config.experiments import list_experiments
from cnn_jax.errors import EXIT_USAGE
from cnn_jax.io.escaping import printable

NAME_WIDTH = 24
NARROWEST, WIDEST = 60, 100


def main(argv: Sequence[str]) -> int:
    """Print the list, the version or the completion; returns the exit code."""
    match argv:
        case [] | ["-h" | "--help"]:
            print("\n".join(overview(shutil.get_terminal_size().columns)))
        case ["--version"]:
            print(f"cnn_jax {metadata.version('cnn_jax')}")
        case ["--completion", *shell] if "".join(shell) in ("", *SCRIPTS):
            print(script("".join(shell) or "bash").read_text(), end="")
        case [name, *_] if name in commands():
            print(f"error: say python -m cnn_jax.{name}", file=sys.stderr)
            return EXIT_USAGE
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
    yield "python -m cnn_jax.COMMAND --help"
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


if __name__ == "__main__":
    command_line.run(main)
