"""Show runs side by side: how they were told to train, what they reached, and whether that differs.

    python -m cnn_jax.compare runs/first runs/second
    python -m cnn_jax.compare 'runs/*' --output=compare.html

Prints the settings that differ, the metrics with their intervals, and tests every two runs on the images that both were
measured on. Reads what training and `evaluate` have written, and runs no network: what is missing is named, with the
command that makes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cnn_jax.cli import command_line
from cnn_jax.errors import ConfigError
from cnn_jax.io.files import can_hold
from cnn_jax.io.writing import write_atomically, writing

if TYPE_CHECKING:
    from cnn_jax.comparing.pairs import Pair
    from cnn_jax.comparing.runs import Comparison
    from cnn_jax.training.run.logs import Reporter


@dataclass(frozen=True)
class Arguments:
    """Which runs, and where to."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories, or quoted patterns such as 'runs/*'."""
    split: str | None = None
    """On what they were measured: validation, test or train; None is the one that most of them have, validation
    first."""
    output: Path | None = None
    """The .html file to write: the tables, the learning curves and the calibration of all runs on one page."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("which runs? Give their directories, or a pattern such as 'runs/*'")
        if self.output is not None and self.output.suffix != ".html":
            raise ConfigError(f"--output={self.output}: the name must end with .html")
        if self.output is not None and not can_hold(self.output):
            raise ConfigError(f"--output={self.output}: there is no folder {self.output.parent}")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, read the runs, print the tables and write the page; returns the exit code."""
    arguments = command_line.parse(Arguments, argv, command="compare", description=__doc__)
    from cnn_jax.comparing import page, pairs, runs  # what takes long to import loads only once the flags are right
    from cnn_jax.training.run.logs import Reporter

    comparison, reporter = runs.gather(arguments.runs, arguments.split), Reporter()
    found = pairs.pairs(comparison.runs)
    show(comparison, found, reporter)
    if arguments.output is not None:
        with writing(f"--output={arguments.output}"):
            write_atomically(arguments.output, page.page(comparison, found))
        reporter.line(f"written    {arguments.output}")
    return 0


def show(comparison: "Comparison", found: "tuple[Pair, ...]", reporter: "Reporter") -> None:
    """Print the tables, each with what has to be known to read it."""
    from cnn_jax.comparing import console

    for line in console.head(comparison):
        reporter.line(line)
    settings = console.settings(comparison.runs)
    reporter.line("\nsettings that differ")
    if isinstance(settings, list):
        for line in settings or ["none"]:
            reporter.line(line)
    elif settings.row_count:
        reporter.table(settings)
    else:
        reporter.line("none")
    reporter.line(f"\n{comparison.split} images, of the best checkpoints")
    reporter.table(console.figures(comparison))
    printed = console.chosen(found)
    if any(pair.found for pair in printed):
        reporter.line("\non the same images: the first run's figure minus the second's")
        reporter.table(console.tested(printed))
        for line in console.LEGEND:
            reporter.line(line)
    for line in console.remarks(printed):
        reporter.line(line)
    if len(printed) < len(found):
        reporter.line(f"{len(found) - len(printed)} pairs are not printed; --output=compare.html has all")


if __name__ == "__main__":
    command_line.run(main)
