"""Which columns of a table name the images, their classes and their splits."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cnn_jax.config import CsvConfig
from cnn_jax.data.sources.csv_file import Table
from cnn_jax.data.sources.folders import IMAGE_SUFFIXES, SPLIT_FOLDERS
from cnn_jax.errors import DataError
from cnn_jax.io.escaping import printable

PATHS = (
    *("path", "filepath", "file_path", "image_path", "filename", "file_name", "file", "files", "image", "images"),
    *("image_name", "img", "img_path", "image_id", "imageid", "id", "name"),
)
"""Usual names of the column with the images, the plainest first."""
LABELS = (
    *("label", "labels", "class", "class_name", "classname", "category", "target", "diagnosis", "dx", "species"),
    *("breed", "label_name", "class_id", "y"),
)
"""Usual names of the column with the classes."""
SPLITS = ("split", "subset", "set", "partition", "dataset", "data set", "usage")
"""Usual names of the column with the splits; it counts where it says nothing else."""
SPLIT_NAMES = {name for names in SPLIT_FOLDERS.values() for name in names}


@dataclass(frozen=True)
class Columns:
    """Numbers of columns, and their names."""

    path: int
    label: int
    split: int | None
    names: tuple[str, ...]
    """Of all columns of the table."""

    @property
    def path_name(self) -> str:
        """The name of the column with the images."""
        return self.names[self.path]

    @property
    def label_name(self) -> str:
        """The name of the column with the classes."""
        return self.names[self.label]

    @property
    def split_name(self) -> str:
        """The name of the column with the splits."""
        return "" if self.split is None else self.names[self.split]


def find_columns(table: Table, config: CsvConfig) -> Columns:
    """The columns that the configuration names; the others by their names, and by what is in them.

    Raises:
        DataError: there is no such column, it is not known which it is, or the splits have other names than usual.
    """
    split = _split(table, config)
    rest = [number for number in range(len(table.columns)) if number != split]
    if config.path is None:
        path = _path(table, [n for n in rest if config.label is None or n != table.column(config.label, "")])
    else:
        path = table.column(config.path, "data.csv.path")
    others = [number for number in rest if number != path]
    label = _label(table, others) if config.label is None else table.column(config.label, "data.csv.label")
    return Columns(path, label, split, table.columns)


def _path(table: Table, columns: Sequence[int]) -> int:
    """By the suffixes of images in it; else by its name."""
    with_suffix = [n for n in columns if any(row[n].lower().endswith(IMAGE_SUFFIXES) for row in table.rows)]
    if len(with_suffix) == 1:
        return with_suffix[0]
    found = _by_name(table, with_suffix or columns, PATHS)
    if found is None:
        raise DataError(f"{table.name}: {_which('the images', 'path', table)}")
    return found


def _label(table: Table, columns: Sequence[int]) -> int:
    """By its name; else the only one that is left."""
    found = _by_name(table, columns, LABELS)
    if found is not None:
        return found
    if len(columns) == 1:
        return columns[0]
    seen = {row[n] for n in columns for row in table.rows}
    if len(columns) > 1 and seen <= {"0", "1", "0.0", "1.0"}:
        raise DataError(
            f"{table.name} has a column for each class ({', '.join(table.columns[n] for n in columns[:10])}): make one "
            "column of their names (in pandas: table[columns].idxmax(axis=1))"
        )
    raise DataError(f"{table.name}: {_which('the classes', 'label', table)}")


def _split(table: Table, config: CsvConfig) -> int | None:
    if config.split is not None:
        number = table.column(config.split, "data.csv.split")
        unknown = _no_splits(table, number)
        if unknown:
            raise DataError(
                f"{table.name}: the column {table.columns[number]} has {', '.join(map(repr, unknown[:5]))}, and a "
                f"split is one of {', '.join(sorted(SPLIT_NAMES))}"
            )
        return number
    usual = _by_name(table, range(len(table.columns)), SPLITS)
    if usual is None or not any(row[usual] for row in table.rows) or _no_splits(table, usual):
        return None
    return usual


def _no_splits(table: Table, column: int) -> list[str]:
    """What the column has besides names of splits, in any case."""
    return sorted({row[column] for row in table.rows if row[column] and row[column].lower() not in SPLIT_NAMES})


def _by_name(table: Table, columns: Collection[int], usual: Sequence[str]) -> int | None:
    names = {table.columns[number].casefold().replace("-", "_"): number for number in reversed(list(columns))}
    return next((names[name] for name in usual if name in names), None)


def _which(what: str, flag: str, table: Table) -> str:
    names = printable(", ".join(table.columns))
    return f"which column has {what}? It has {names}: say --data.csv.{flag}={table.columns[0]}, or another"
