"""docs/a-training-step.md against the sources: each link names what its file defines, and the lines are counted."""

import ast
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "a-training-step.md"
LINK = re.compile(r"\[`(\w+)`\]\((\.\./[\w/]+\.py)\)")
TOLERANCE = 0.1
"""The page rounds its numbers; where the code has moved on by more, the page is to say so."""


def lines_of(definition: ast.AST, source: list[str]) -> set[int]:
    """The lines of code of a definition; of a class, those of its fields and its docstring: methods are named alone."""
    assert isinstance(definition, ast.ClassDef | ast.FunctionDef)
    parts = [definition]
    if isinstance(definition, ast.ClassDef):
        parts = [part for part in definition.body if not isinstance(part, ast.FunctionDef)]
    numbers = {n for part in parts for n in range(part.lineno, (part.end_lineno or part.lineno) + 1)}
    return {n for n in numbers | {definition.lineno} if source[n - 1].strip()}


def test_every_name_is_defined_where_its_link_leads_and_the_way_is_as_long_as_said() -> None:
    found: dict[Path, set[int]] = {}
    for name, target in LINK.findall(PAGE.read_text()):
        path = (PAGE.parent / target).resolve()
        text = path.read_text()
        named = [node for node in ast.walk(ast.parse(text)) if getattr(node, "name", None) == name]
        assert named, f"{target} does not define {name}"
        found.setdefault(path, set()).update(lines_of(named[0], text.splitlines()))
    said = re.search(r"about (\d[\d,]*) lines in (\d+) files", PAGE.read_text())
    assert said is not None
    lines = sum(map(len, found.values()))
    assert abs(int(said[1].replace(",", "")) - lines) <= TOLERANCE * lines, lines
    assert int(said[2]) == len(found)
