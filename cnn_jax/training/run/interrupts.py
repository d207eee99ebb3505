"""Ctrl-C and SIGTERM as a request to save and stop, instead of an end in the middle of a step."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType


class Interrupts:
    """While active, the first SIGINT or SIGTERM is only noted; a second Ctrl-C ends the process at once."""

    def __init__(self, vote: Callable[[int], int] = lambda number: number) -> None:
        """`vote` makes one number of those of all processes (see `processes.Vote`)."""
        self.agreed: signal.Signals | None = None
        """The signal for which all processes stop."""
        self._received: signal.Signals | None = None
        self._vote = vote
        self._before: dict[signal.Signals, object] = {}

    def stopped(self) -> bool:
        """Whether to stop: a signal came to any process. All of them must ask equally often, and are told alike."""
        if self.agreed is None:
            number = self._vote(self._received or 0)
            self.agreed = signal.Signals(number) if number else None
        return self.agreed is not None

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
