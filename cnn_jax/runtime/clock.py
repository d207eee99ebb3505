"""Where the time of a run goes: every second since its beginning, by the name of what it went to."""

import contextlib
import os
import sys
import time
from collections.abc import Generator

OTHER = "other"
"""What is in no part."""

REPORT = "report"
"""The part that comes after the training."""


class Clock:
    """Parts of a run, one inside another where need be: the time of an inner part is not the outer one's too."""

    def __init__(self, started: float | None = None) -> None:
        """`started` is the `time.perf_counter` of the beginning; None is now."""
        self._started = self._since = time.perf_counter() if started is None else started
        self._parts: dict[str, float] = {}
        self._open = [OTHER]

    @contextlib.contextmanager
    def part(self, name: str) -> Generator[None, None, None]:
        """What happens inside goes to this part, less what goes to parts opened there."""
        self._turn()
        self._parts.setdefault(name, 0.0)  # in the order of their beginnings
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def so_far(self, name: str) -> None:
        """What went to no part until now goes to this one."""
        self._turn()
        self._parts[name] = self._parts.get(name, 0.0) + self._parts.pop(OTHER, 0.0)

    def seconds(self) -> dict[str, float]:
        """Of each part, in the order in which they began, `OTHER` last; together they are `wall`."""
        self._turn()
        return {name: round(self._parts[name], 3) for name in sorted(self._parts, key=OTHER.__eq__)}

    def wall(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._started

    def __str__(self) -> str:
        return ", ".join(f"{part} {seconds:.1f}" for part, seconds in self.seconds().items() if seconds >= 0.05)

    def _turn(self) -> None:
        now = time.perf_counter()
        self._parts[self._open[-1]] = self._parts.get(self._open[-1], 0.0) + now - self._since
        self._since = now


def process_age() -> float:
    """Seconds since this process began, to a hundredth; 0 where the system does not say it as Linux does."""
    if sys.platform != "linux":
        return 0.0
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])  # field 22, starttime; field 2 may hold spaces
    except (OSError, ValueError, IndexError):
        return 0.0
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 0.0)
