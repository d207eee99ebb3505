"""Files that are replaced in one step, on this machine and on Google Cloud Storage alike."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cnn_jax.errors import ConfigError

REMOTE = "gs://"
"""How remote paths begin."""


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether it is not a path of this machine."""
    return "://" in os.fspath(path)


LONGEST_STEM = 50
"""Characters of a name that its temporary name repeats: file systems take 255 bytes, and a character has up to four."""


def is_leftover(name: str) -> bool:
    """Whether this is the name of a file that a kill left unfinished."""
    return name.startswith(".") and name.endswith(".tmp")


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """A temporary file of this machine; what was written there takes the place of `path`, unless an error came.

    A reader, or a kill, meets the old content or the new. Where nothing was written, `path` stays as it is.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="cnn_jax-") as folder:
            temporary = Path(folder) / path.name
            yield temporary
            if temporary.exists():
                path.write_bytes(temporary.read_bytes())
        return
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


def append(path: Path, content: str | bytes) -> None:
    """Write at the end of a file; a remote one is replaced by a longer one, since objects do not grow."""
    added = content.encode() if isinstance(content, str) else content
    if is_remote(path):
        write_atomically(path, (path.read_bytes() if path.exists() else b"") + added)
        return
    with path.open("ab") as file:
        file.write(added)
