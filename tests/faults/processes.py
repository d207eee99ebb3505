"""Commands in processes of their own: what they say, and how to kill them in the midst of something."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

PATIENCE_SECONDS = 300.0
"""A process that says nothing for so long hangs."""


def command(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m cnn_jax.NAME` with these arguments, to its end; the bytes that it printed as in `os.fsdecode`."""
    return subprocess.run(
        [sys.executable, "-m", f"cnn_jax.{name}", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=PATIENCE_SECONDS,
    )


class Marked:
    """A command whose marks are read (see `tests.faults.marked`)."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._read, write = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.marked", name, *arguments],
            env={**os.environ, **environment, "MARKS": str(write)},
            pass_fds=[write],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        os.close(write)
        self.pid = self._process.pid
        self._rest = b""
        self.marks: list[tuple[float, str]] = []
        """When each activity began."""

    def __enter__(self) -> "Marked":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._read)

    def _listen(self, seconds: float) -> bool:
        """Take in what comes within this time; False once nothing can come any more."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._read], [], [], left)[0]:
                continue
            content = os.read(self._read, 4096)
            if not content:
                return False
            *whole, self._rest = (self._rest + content).split(b"\n")
            self.marks += [(time.monotonic(), line.decode()) for line in whole]
        return True

    def reaches(self, activity: str, number: int) -> bool:
        """Wait until the activity begins for the `number`-th time; False if the process ends before."""
        heard, begun = len(self.marks), time.monotonic()
        while sum(name == activity for _, name in self.marks) < number:
            if not self._listen(0.002):
                return False
            if len(self.marks) > heard:
                heard, begun = len(self.marks), time.monotonic()
            assert time.monotonic() - begun < PATIENCE_SECONDS, f"nothing after {self.marks[-1:]}"
        return True

    def stop(self) -> None:
        """Let it stand still, every thread of it, until it is killed."""
        self._process.send_signal(signal.SIGSTOP)
        states = Path(f"/proc/{self.pid}/task")
        while any((task / "stat").read_text().rpartition(") ")[2][0] != "T" for task in states.iterdir()):
            time.sleep(0.001)

    def kill_after(self, seconds: float, number: signal.Signals) -> tuple[str, int]:
        """Send a signal; what the process was doing then, and its return code."""
        self._listen(seconds)
        self._process.send_signal(number)
        doing = self.marks[-1][1]
        return doing, self.wait()

    def wait(self) -> int:
        """The return code at its end."""
        while self._process.poll() is None and self._listen(PATIENCE_SECONDS):
            pass
        return self._process.wait(PATIENCE_SECONDS)

    def spans(self) -> dict[str, float]:
        """The longest time in seconds that each activity took in one go."""
        longest: dict[str, float] = {}
        for (begun, name), (ended, _) in zip(self.marks, self.marks[1:], strict=False):
            longest[name] = max(longest.get(name, 0.0), ended - begun)
        return longest
