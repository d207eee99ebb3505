"""Paths on Google Cloud Storage, with the methods of `pathlib.Path` that this package uses.

etils' epath has the paths, TensorFlow's file system sends the requests. What is added here: a failure is an OSError
that says what to do, a write is one request that puts a whole object, and listing a folder asks for nothing but the
list. Object stores have no folders: one is there as long as an object has a name that begins with it.
"""

import errno
import functools
import hashlib
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etils.epath.gpath import PosixGPath

from cnn_jax.errors import RemoteError, RunError
from cnn_jax.io.tensorflow import first_line, tf
from cnn_jax.io.writing import replacing

THREADS = 64
"""Requests at the same time; each waits tens of milliseconds for its answer."""

LONGEST_REASON = 300
"""Characters of what the server says."""


class RemotePath(PosixGPath):
    """`gs://BUCKET/…`.

    Raises:
        FileNotFoundError: there is no such object.
        RemoteError: the storage cannot be reached, or refuses.
    """

    def exists(self) -> bool:
        return self._stat() is not None

    def is_dir(self) -> bool:
        stat = self._stat()
        return stat is not None and stat.is_directory

    def is_file(self) -> bool:
        stat = self._stat()
        return stat is not None and not stat.is_directory

    def _stat(self) -> Any:
        try:
            with _explained(self):
                return tf().io.gfile.stat(str(self))
        except FileNotFoundError:
            return None

    def iterdir(self) -> Iterator["RemotePath"]:
        return (RemotePath(entry.path) for entry in entries(str(self)))

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        with _explained(self):
            return (RemotePath(found) for found in tf().io.gfile.glob(f"{self}/{pattern}"))

    def mkdir(self, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing but a check: there are no folders to make."""
        require_bucket(self.parts[2])

    def read_bytes(self) -> bytes:
        with _explained(self), tf().io.gfile.GFile(str(self), "rb") as file:
            return file.read()

    def read_text(self, encoding: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8")

    def write_bytes(self, data: bytes) -> int:
        """Put the whole object: readers see the one before until all has arrived."""
        require_bucket(self.parts[2])
        with _explained(self), tf().io.gfile.GFile(str(self), "wb") as file:
            file.write(data)
        return len(data)

    def rename(self, target: Any) -> "RemotePath":
        """One object after the other where it is a folder."""
        with _explained(self):
            tf().io.gfile.rename(str(self), str(target))
        return RemotePath(target)

    def absolute(self) -> "RemotePath":
        return self

    def resolve(self, strict: bool = False) -> "RemotePath":
        return self

    def expanduser(self) -> "RemotePath":
        return self


@dataclass(frozen=True)
class RemoteEntry:
    """See `files.Entry`."""

    name: str
    path: str
    folder: bool

    def is_dir(self) -> bool:
        return self.folder

    def is_file(self) -> bool:
        return not self.folder

    def is_symlink(self) -> bool:
        return False


def entries(folder: str) -> list[RemoteEntry]:
    """What lies in a folder."""
    folder = folder.rstrip("/")
    with _explained(folder):
        names = tf().io.gfile.listdir(folder)  # those of folders end with a slash
    return [RemoteEntry(name.rstrip("/"), f"{folder}/{name.rstrip('/')}", name.endswith("/")) for name in names]


def stamps(paths: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Bytes and time of the last change, in nanoseconds, of each object."""

    def look(path: str) -> tuple[int, int]:
        with _explained(path):
            stat = tf().io.gfile.stat(path)
            return stat.length, stat.mtime_nsec

    tf()  # once, before there are threads
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(look, paths)


def fetch(path: Path, folder: Path) -> Path:
    """A copy of an object below `folder`, made anew where the object has changed.

    Raises:
        OSError: it cannot be read, or the copy cannot be written.
    """
    ((size, changed),) = stamps([str(path)])
    key = hashlib.sha256(f"{path} {size} {changed}".encode()).hexdigest()[:16]
    copy = folder / key / path.name
    if not copy.is_file():
        _copy(str(path), copy)
    return copy


def mirror(source: Path, target: Path) -> None:
    """Copy all objects below a folder that have not been copied, or have another length, to a folder of this machine.

    Raises:
        OSError: an object cannot be read, or the copy cannot be written.
    """
    paths = list(_objects(str(source)))
    for path, (size, _) in zip(paths, stamps(paths), strict=True):
        copy = target / path.removeprefix(f"{source}/")
        if not copy.is_file() or copy.stat().st_size != size:
            _copy(path, copy)


def _objects(folder: str) -> Iterator[str]:
    """All below a folder; none where there is no such folder."""
    try:
        found = entries(folder)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.folder:
            yield from _objects(entry.path)
        else:
            yield entry.path


def _copy(source: str, target: Path) -> None:
    """Bring one object to this machine, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary, _explained(source):
        tf().io.gfile.copy(source, str(temporary), overwrite=True)


@functools.cache
def require_bucket(bucket: str) -> None:
    """Raise RemoteError where there is no such bucket: TensorFlow tries for many minutes to write to it."""
    try:
        with _explained(f"gs://{bucket}"):
            tf().io.gfile.stat(f"gs://{bucket}/")
    except FileNotFoundError as error:
        raise RemoteError(
            errno.ENOENT,
            f"there is no such bucket; `gcloud storage buckets create gs://{bucket}` makes one",
            f"gs://{bucket}",
        ) from error
    except RemoteError as error:
        if error.errno != errno.EACCES:  # who may not look at a bucket may still write to it
            raise


def require_checkpoint_client(workdir: Path) -> None:
    """Raise RunError where Orbax lacks what it needs to keep checkpoints below a remote folder."""
    try:
        import google.cloud.storage  # noqa: F401
    except ImportError as error:
        raise RunError(
            f"{workdir}: checkpoints on gs:// need the package google-cloud-storage: pip install google-cloud-storage"
        ) from error


@contextmanager
def _explained(path: str | os.PathLike[str]) -> Generator[None, None, None]:
    """TensorFlow's errors as those of files."""
    errors = tf().errors
    try:
        yield
    except errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path)) from error
    except errors.OpError as error:
        reason = first_line(error)[:LONGEST_REASON]
        refused = isinstance(error, errors.PermissionDeniedError | errors.UnauthenticatedError)
        refused |= "response code 401" in reason
        hint = (
            "Give the account of this machine access to the bucket, or log in: gcloud auth application-default login"
            if refused
            else "Is there a network?"
        )
        raise RemoteError(errno.EACCES if refused else errno.EIO, f"{reason}. {hint}", os.fspath(path)) from error
