"""Files that are replaced in one step, so that a reader or a kill meets the old content or the new; and JSON."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cnn_jax.errors import ConfigError

LONGEST_STEM = 50
"""Characters of a name that its temporary name repeats: file systems take 255 bytes, and a character has up to four."""


def is_leftover(name: str) -> bool:
    """Whether this is the name of a file that a kill left unfinished."""
    return name.startswith(".") and name.endswith(".tmp")


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """A temporary name beside `path`; what was written there takes its place at the end, unless an error came.

    Where nothing was written, `path` stays as it is.
    """
    temporary = path.with_name(f".{path.stem[:LONGEST_STEM]}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.exists():
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file, text as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(what: str) -> Generator[None, None, None]:
    """While files are written: an error of the file system becomes ConfigError. `what` is the flag that names them."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{what} cannot be written: {error.strerror or error}") from error


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError where it is none, be it by its depth."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it has brackets inside brackets a thousand times") from error
