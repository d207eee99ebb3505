"""A CSV file as people write it: any usual delimiter and encoding, quoted fields, with or without a header."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cnn_jax.data.sources.folders import IMAGE_SUFFIXES
from cnn_jax.errors import DataError
from cnn_jax.io.escaping import printable

DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 50
"""Rows that the delimiter is found by."""
MARKED = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"""Encodings that a file begins with a mark of."""
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files of Excel, LibreOffice and Numbers begin."""


@dataclass(frozen=True)
class Table:
    """Rows of texts, without spaces around them."""

    name: str
    """Of the file, for messages."""
    columns: tuple[str, ...]
    """Their names; 1, 2, … where the first row is none of names."""
    rows: list[list[str]]
    """As many texts each as there are columns."""
    lines: list[int]
    """Where each row ends in the file, counted from 1."""
    note: str
    """How it was read, where that may surprise, else empty."""

    def column(self, name: str, flag: str) -> int:
        """The number of the column of that name, in any case.

        Raises:
            DataError: there is none, or several; `flag` is what the message names.
        """
        for names, wanted in ((self.columns, name), ([c.casefold() for c in self.columns], name.casefold())):
            if names.count(wanted) == 1:
                return names.index(wanted)
        several = [column.casefold() for column in self.columns].count(name.casefold()) > 1
        raise DataError(
            f"{flag}={name}: {self.name} has {'several columns' if several else 'no column'} of that name; it has: "
            f"{printable(', '.join(self.columns))}"
        )


def read_table(path: Path, delimiter: str | None) -> Table:
    """The rows of a file that are not empty.

    Args:
        delimiter: between fields; None finds it.

    Raises:
        DataError: it cannot be read, is no CSV file, or has a row with more fields than the first.
    """
    text, note = _text(path)
    separated = re.match(r"sep=(.)\r?\n", text)  # Excel's
    if separated:
        delimiter, text = delimiter or separated[1], text[separated.end() :]
    try:
        found = list(_rows(text, delimiter or _delimiter(text), 1 if separated else 0))
    except csv.Error as error:
        raise DataError(f"{path}: {error}. Look at its quotes, or save it again as CSV") from error
    if not found:
        raise DataError(f"{path} has no rows")
    first = found[0][1]
    headed = not any(cell.lower().endswith(IMAGE_SUFFIXES) for cell in first)
    columns = tuple(first) if headed else tuple(str(number) for number in range(1, len(first) + 1))
    rows, lines = [], []
    for line, row in found[headed:]:
        if any(row[len(columns) :]):
            raise DataError(
                f"{path}, line {line}: {len(row)} fields, and {len(columns)} in the first row. Put what holds the "
                "delimiter in quotes, or say --data.csv.delimiter"
            )
        rows.append(row[: len(columns)] + [""] * (len(columns) - len(row)))
        lines.append(line)
    return Table(path.name, columns, rows, lines, note)


def _text(path: Path) -> tuple[str, str]:
    """The text of the file, and what to say of its encoding."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if content.startswith(WORKBOOKS):
        raise DataError(f"{path} is a workbook or an archive: open it in its program and save the sheet as CSV")
    encoding = next((name for mark, name in MARKED if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding), ""
    except UnicodeDecodeError:
        pass
    try:
        return content.decode("cp1252"), f"{path.name} is not UTF-8: read as Windows-1252"
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is neither UTF-8 nor Windows-1252: save it as CSV in UTF-8") from error


def _delimiter(text: str) -> str:
    """The one that divides most of the first rows into as many fields as the first, two or more."""
    start = "".join(itertools.islice(io.StringIO(text, newline=""), LOOKED_AT))

    def agreeing(delimiter: str) -> tuple[int, int]:
        sizes = [len(row) for row in csv.reader(io.StringIO(start, newline=""), delimiter=delimiter) if row]
        return (sizes.count(sizes[0]), sizes[0]) if sizes and sizes[0] > 1 else (0, 0)

    return max(DELIMITERS, key=agreeing)


def _rows(text: str, delimiter: str, before: int) -> Iterator[tuple[int, list[str]]]:
    """The rows with any text in them, and the line that each ends in, after so many lines `before`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num + before, cells
    except csv.Error as error:
        raise csv.Error(f"line {reader.line_num + before}: {error}") from error
