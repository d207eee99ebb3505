"""Files that are replaced in one step: a reader, or a kill, meets the old content or the new."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """A temporary name beside `path`; what was written there takes its place at the end, unless an error came.

    Where nothing was written, `path` stays as it is.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
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
