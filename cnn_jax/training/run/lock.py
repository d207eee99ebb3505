"""One run at a time in a run directory."""

import contextlib
import errno
import os
import socket
import sys
from pathlib import Path
from types import TracebackType

from cnn_jax.errors import RunError
from cnn_jax.io.writing import is_remote

FILE = ".lock"
"""In the run directory; it stays there, empty of meaning where no process holds it."""


class Lock:
    """Keeps other processes from training in `workdir`; the kernel lets go of it however this one ends.

    Where the file system has no locks (some network file systems), on `gs://` and on Windows, nothing is kept out.
    """

    def __init__(self, workdir: Path) -> None:
        self._workdir, self._file = workdir, -1

    def take(self) -> None:
        """Take the lock, unless it is held already.

        Raises:
            RunError: another process has it, or the directory cannot be written.
        """
        if self._file >= 0 or is_remote(self._workdir):
            return
        try:
            file = os.open(self._workdir / FILE, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            own = (self._workdir / FILE).exists() and error.errno != errno.EROFS
            what = f"its {FILE} cannot be opened" if own else "cannot be written"
            raise RunError(f"--workdir={self._workdir} {what}: {error.strerror}") from error
        try:
            _lock(file)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip()
            os.close(file)
            raise RunError(
                f"--workdir={self._workdir} is in use: {holder or 'another process'} trains in it. Wait for its end, "
                "or give another --workdir"
            ) from None
        self._file = file
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.truncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock(file: int) -> None:
    """Raise BlockingIOError where another process has locked the open file; nothing where that cannot be known."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # no locks there
        return
