"""Names that other people chose, made safe to print.

A file or a class may be named with control characters, which a terminal obeys (colours, the title of the window, the
line above), with bytes that are no UTF-8, which cannot be printed, or with [brackets], which rich takes for markup.
Who prints a name escapes it with `printable`, line breaks included. Beneath, whatever a command writes to its terminal
goes through `Escaping` or a `console`: what was forgotten, or comes from a library or a traceback, is escaped there.
"""

import contextlib
import sys
from collections.abc import Generator, Iterable
from typing import IO, TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

BYTES = range(0xDC80, 0xDD00)
"""Surrogates as which `os.fsdecode` gives bytes that are no UTF-8."""


def printable(text: str) -> str:
    """The text with escapes, as in `repr`, for what is no visible character or space: controls, bidi marks, bytes."""
    if text.isprintable():
        return text
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


class Escaping:
    """A stream that takes texts and hands on `printable_lines` of them. The rest is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.passing, self.coloured = stream, False, True

    def write(self, text: str) -> int:
        self.stream.write(text if self.passing else printable_lines(text))
        return len(text)

    def isatty(self) -> bool:
        """Whether a library may draw on it."""
        return self.coloured and self.stream.isatty()

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def escape_standard_streams() -> None:
    """From now on, standard output and error of this process are `Escaping`."""
    sys.stdout, sys.stderr = (
        stream if isinstance(stream, Escaping) else Escaping(stream) for stream in (sys.stdout, sys.stderr)
    )


@contextlib.contextmanager
def as_it_is(allowed: bool = True) -> Generator[None, None, None]:
    """While a library draws on the terminal, with colours or a bar; nothing that people chose may be in it.

    Where something may be (not `allowed`), the library is told that there is no terminal.
    """
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, Escaping)]
    for stream in streams:
        stream.passing = stream.coloured = allowed
    try:
        yield
    finally:
        for stream in streams:
            stream.passing, stream.coloured = False, True


def console(file: IO[str], **options: Any) -> "Console":
    """A console of rich whose texts are escaped, and whose own colours and movements are not."""
    from rich.console import Console
    from rich.segment import Segment

    class Safe(Console):
        def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
            for segment in super().render(*arguments, **options):
                yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)

    stream = file.stream if isinstance(file, Escaping) else file
    return Safe(file=stream, highlight=False, soft_wrap=True, **options)
