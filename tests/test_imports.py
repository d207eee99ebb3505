"""Imports run one way: read from the sources, and held against the table of docs/architecture.md."""

import ast
import re
from pathlib import Path

import cnn_jax
from cnn_jax.cli.command_list import commands

PACKAGE = Path(cnn_jax.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in it, be it for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {member if member in MODULES else node.module for member in members}
    return found


IMPORTS = {module: imported(path) - {module} for module, path in MODULES.items()}


def layers() -> list[str]:
    """The folders of the package in the order of the table, `errors` first; the commands come after all of them."""
    rows = re.findall(r"^\| `([a-z]+)(?:/|\.py)`", ARCHITECTURE.read_text(), re.MULTILINE)
    assert set(rows) == {
        path.stem for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()
    } | {"errors"}
    return rows


def test_a_module_imports_from_its_own_row_of_the_table_and_those_above() -> None:
    rows = layers()

    def row(module: str) -> int:
        part = module.split(".")[1]
        return rows.index(part) if part in rows else len(rows)

    ours = {module: others - {"cnn_jax"} for module, others in IMPORTS.items() if module != "cnn_jax"}
    wrong = [
        f"{module} imports {other}" for module, others in ours.items() for other in others if row(other) > row(module)
    ]
    assert wrong == []


def test_no_command_imports_another() -> None:
    names = {f"cnn_jax.{name}" for name in commands()}
    assert [(name, IMPORTS[name] & names) for name in names if IMPORTS[name] & names] == []


def test_no_module_imports_itself_through_others() -> None:
    """Kahn's algorithm: take away what imports nothing that is left, until nothing is left."""
    left = dict(IMPORTS)
    while free := [module for module, others in left.items() if not others & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}


def test_a_folder_says_what_it_is_for() -> None:
    folders = [path for path in MODULES.values() if path.name == "__init__.py"]
    assert [path for path in folders if not ast.get_docstring(ast.parse(path.read_text()))] == []
