"""Names from elsewhere are printed without being obeyed."""

import io
import re
import sys
import traceback
import warnings
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from cnn_jax.io.escaping import Escaping, as_it_is, console, escape_standard_streams, plain, printable
from cnn_jax.training.run.logs import LiveBar


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo 1, ü 猫.jpg", "photo 1, ü 猫.jpg"),
        ("\x1b[2J\x07\r\n\t", "\\x1b[2J\\x07\\r\\n\\t"),
        ("exe\u202egpj.", "exe\\u202egpj."),
        ("\u2028\xa0\x9b", "\\u2028\\xa0\\x9b"),
        (b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "caf\\xe9.jpg"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_or_cannot_print_is_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()


HOSTILE = "".join(map(chr, (*range(1, 32), *range(127, 160), 0x202E, 0x2028, 0x2029, 0x2066, 0xDC9B)))
OBEYED = set(HOSTILE) - {"\n"}


def test_a_stream_of_a_command_escapes_all_but_the_ends_of_lines() -> None:
    stream = io.StringIO()
    escaping: Any = Escaping(stream)
    print(f"a{HOSTILE}b", "c\nd", file=escaping)
    escaping.writelines([HOSTILE])
    traceback.print_exception(ValueError(HOSTILE), file=escaping)
    escaping.write(warnings.formatwarning(HOSTILE, Warning, "x.py", 1))
    assert not OBEYED & set(stream.getvalue())
    assert stream.getvalue().count(printable(HOSTILE.partition("\n")[0])) == 4
    assert "c\nd\n" in stream.getvalue()
    assert escaping.getvalue() == stream.getvalue()


def test_what_a_library_draws_passes_while_it_is_allowed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    escape_standard_streams()
    escape_standard_streams()
    seen = []
    for allowed in (True, False):
        with as_it_is(allowed):
            print("\x1b[1m", end="|")
            seen.append(sys.stdout.isatty())
    print("\x1b[1m", end="")
    assert stream.getvalue() == "\x1b[1m|\\x1b[1m|\\x1b[1m"
    assert (*seen, sys.stdout.isatty()) == (True, False, True)


def test_a_console_escapes_its_texts_and_keeps_its_own_colours() -> None:
    """Lines, tables, titles and bars; the console itself may move the cursor and set colours."""
    stream = io.StringIO()
    shown = console(Escaping(stream), force_terminal=True, width=400)  # type: ignore[arg-type]
    shown.print(HOSTILE, markup=False)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    shown.print(table)
    with LiveBar(shown, f"[red]{HOSTILE}", 2, "images") as bar:
        bar.advance(1, f"[red]{HOSTILE}")
    written = stream.getvalue()
    assert "\x1b[1m" in written
    assert "[red]" in written
    own = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", written)
    assert not OBEYED & set(own), sorted(OBEYED & set(own))


def test_a_table_takes_no_markup_from_a_name() -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=80)
    table = Table("name")
    table.add_row(plain("[red]a[/red][bold"))
    shown.print(table)
    assert "[red]a[/red][bold" in shown.file.getvalue()  # type: ignore[attr-defined]
