"""The commands of the package, found by what their files hold; none is imported."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


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
"""Commands as a project comes to need them; others come after them."""


def commands() -> dict[str, Path]:
    """Name to file of the modules that are started with `python -m`."""
    found = {path.stem: path for path in PACKAGE.glob("*.py") if "\n    command_line.run(main" in path.read_text()}
    found.pop("__main__")
    known = [name for name in ORDER if name in found]
    return {name: found[name] for name in known + sorted(set(found) - set(known))}
