"""Paths of this machine and of Google Cloud Storage alike, files that are replaced in one step, and JSON.

A path with `://` in it is a `remote.RemotePath`, which has the methods of `pathlib.Path` that this package uses;
nothing of that is imported for any other.
"""

import json
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cnn_jax.errors import ConfigError

REMOTE = "gs://"
"""How remote paths begin."""


def as_path(path: str | os.PathLike[str]) -> Path:
    """The path that the text names, with ~ for the home folder; `gs://BUCKET/…` is on Google Cloud Storage.

    Raises:
        ConfigError: it is on a storage of another kind.
    """
    text = os.fspath(path)
    if not is_remote(text):
        return Path(text).expanduser()
    if not text.startswith(REMOTE) or not text.removeprefix(REMOTE).strip("/"):
        raise ConfigError(f"{text} is not possible: it must be a path of this machine, or {REMOTE}BUCKET/…")
    from cnn_jax.remote import RemotePath  # which takes its time

    return RemotePath(text)


def cache_folder() -> Path:
    """`CNN_JAX_CACHE`, by default ~/.cache/cnn_jax: what is kept between runs (see `cnn_jax.cache`)."""
    return Path(os.environ.get("CNN_JAX_CACHE") or Path.home() / ".cache" / "cnn_jax")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether it is not a path of this machine."""
    return "://" in os.fspath(path)


def can_hold(path: Path) -> bool:
    """Whether there is a folder to write the file `path` into; remote ones come with what is written."""
    return is_remote(path) or path.absolute().parent.is_dir()


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


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError where it is none, be it by its depth."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it has brackets inside brackets a thousand times") from error


def read_text(path: Path) -> str:
    """The text of a file, which is UTF-8.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is a pipe, which would be waited for, or another thing than a file; or it is no text.
    """
    if not path.is_file() and path.exists():
        raise ValueError("it is no file")
    return path.read_bytes().decode()


def append(path: Path, content: str | bytes) -> None:
    """Write at the end of a file; a remote one is replaced by a longer one, since objects do not grow."""
    added = content.encode() if isinstance(content, str) else content
    if is_remote(path):
        write_atomically(path, (path.read_bytes() if path.exists() else b"") + added)
        return
    with path.open("ab") as file:
        file.write(added)


class Entry(Protocol):
    """What lies in a folder, as far as `os.DirEntry` is used."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str: ...

    def is_dir(self) -> bool: ...

    def is_file(self) -> bool: ...

    def is_symlink(self) -> bool: ...


def entries(folder: str | os.PathLike[str]) -> list[Entry]:
    """What lies in a folder, in the order of the characters of the names; no file is opened or asked for.

    Raises:
        OSError: it cannot be read.
    """
    if is_remote(folder):
        from cnn_jax import remote

        return sorted(remote.entries(os.fspath(folder)), key=lambda entry: entry.name)
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def stamps(folder: str, names: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Bytes and time of the last change, in nanoseconds, of each of these files below the folder."""
    paths = (os.path.join(folder, name) for name in names)
    if is_remote(folder):
        from cnn_jax import remote

        yield from remote.stamps(paths)
        return
    for stat in map(os.stat, paths):
        yield stat.st_size, stat.st_mtime_ns
