"""Paths of this machine and of Google Cloud Storage alike, and JSON.

A path with `://` in it is a `remote.RemotePath`, which has the methods of `pathlib.Path` that this package uses;
nothing of that is imported for any other.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from cnn_jax.errors import ConfigError
from cnn_jax.io.writing import REMOTE, is_remote


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
    from cnn_jax.io.remote import RemotePath  # which takes its time

    return RemotePath(text)


def cache_folder() -> Path:
    """`CNN_JAX_CACHE`, by default ~/.cache/cnn_jax: what is kept between runs (see `cnn_jax.cache`)."""
    return Path(os.environ.get("CNN_JAX_CACHE") or Path.home() / ".cache" / "cnn_jax")


def can_hold(path: Path) -> bool:
    """Whether there is a folder to write the file `path` into; remote ones come with what is written."""
    return is_remote(path) or path.absolute().parent.is_dir()


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
        from cnn_jax.io import remote

        return sorted(remote.entries(os.fspath(folder)), key=lambda entry: entry.name)
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def stamps(folder: str, names: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Bytes and time of the last change, in nanoseconds, of each of these files below the folder."""
    paths = (os.path.join(folder, name) for name in names)
    if is_remote(folder):
        from cnn_jax.io import remote

        yield from remote.stamps(paths)
        return
    for stat in map(os.stat, paths):
        yield stat.st_size, stat.st_mtime_ns
