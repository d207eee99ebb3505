"""export.json: what lies beside it, what each file says of itself, and what its own runtime made of it."""

import json
from pathlib import Path
from typing import Any

from cnn_jax.exporting.description import Description
from cnn_jax.io.files import parse_json, read_text
from cnn_jax.io.writing import write_atomically

FILE = "export.json"
Row = dict[str, Any]
"""Of a file: `format`, `bytes`, `description`, and `checked` or None, see `checking`."""


def read(folder: Path) -> dict[str, Row]:
    """File name to row; {} where there is no such record, or one that cannot be read."""
    try:
        found = parse_json(read_text(folder / FILE))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: row for name, row in found.items() if isinstance(row, dict)} if isinstance(found, dict) else {}


def add(folder: Path, rows: dict[str, Row]) -> None:
    """Put the rows into the record of a folder, beside those of its other files that are still there."""
    others = {name: row for name, row in read(folder).items() if (folder / name).exists()}
    write_atomically(folder / FILE, json.dumps({"files": {**others, **rows}}, indent=1, allow_nan=False))


def description_of(path: Path) -> Any:
    """What the record beside a file says of it; None without."""
    return read(path.parent).get(path.name, {}).get("description")


def row(kind: str, size: int, description: Description, checked: Row | None) -> Row:
    """Of one file."""
    return {"format": kind, "bytes": size, "description": description.as_dict(), "checked": checked}
