"""Names from elsewhere are printed without being obeyed."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from cnn_jax.console_text import plain, printable


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


def test_a_table_takes_no_markup_from_a_name() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    table = Table("name")
    table.add_row(plain("[red]a[/red][bold"))
    console.print(table)
    assert "[red]a[/red][bold" in console.file.getvalue()  # type: ignore[attr-defined]
