"""List the doors and the experiments.

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

from cnn_jax import cli
from cnn_jax.completion import SCRIPTS
from cnn_jax.console_text import printable
from cnn_jax.experiment import list_experiments

PACKAGE = Path(__file__).parent

ORDER = (
    "check_data",
    "summarize",
    "train",
    "sweep",
    "evaluate",
    "compare",
    "predict",
    "explain",
    "serve",
    "verify_weights",
    "export",
    "cache",
)
"""Doors as a project comes to need them; others come after them."""

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
            print((PACKAGE / SCRIPTS["".join(shell) or "bash"]).read_text(), end="")
        case [name, *_] if name in doors():
            print(f"error: say python -m cnn_jax.{name}", file=sys.stderr)
            return cli.EXIT_USAGE
        case [name, *_]:
            print(
                f"error: {printable(name)}: there is no such door or flag; python -m cnn_jax lists them",
                file=sys.stderr,
            )
            return cli.EXIT_USAGE
    return 0


def doors() -> dict[str, Path]:
    """Name to file of the modules that are started with `python -m`."""
    found = {path.stem: path for path in PACKAGE.glob("*.py") if "\n    cli.run_door(main" in path.read_text()}
    found.pop("__main__")
    known = [name for name in ORDER if name in found]
    return {name: found[name] for name in known + sorted(set(found) - set(known))}


def overview(width: int) -> Iterator[str]:
    """The lines of the list, for a terminal of so many columns."""
    width = min(max(width, NARROWEST), WIDEST)
    yield "Train and fine-tune convolutional image classifiers in JAX."
    yield ""
    yield "python -m cnn_jax.DOOR --help"
    yield from _list(doors(), width)
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
    cli.run_door(main)
