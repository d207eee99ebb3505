"""Names that other people chose, made safe to print.

A file or a class may be named with control characters, which a terminal obeys (colours, the title of the window, the
line above), with bytes that are no UTF-8, which cannot be printed, or with [brackets], which rich takes for markup.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

BYTES = range(0xDC80, 0xDD00)
"""Surrogates as which `os.fsdecode` gives bytes that are no UTF-8."""


def printable(text: str) -> str:
    """The text with escapes, as in `repr`, for what is no visible character or space: controls, bidi marks, bytes."""
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def _escape(character: str) -> str:
    if ord(character) in BYTES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def plain(text: str) -> "Text":
    """The printable text for a table of rich, which takes no markup in it."""
    from rich.text import Text

    return Text(printable(text))
