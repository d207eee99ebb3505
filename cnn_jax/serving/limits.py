"""How much the server takes at once. What is over a limit is refused; nothing waits without an end."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

MEGABYTE = 10**6
NAME_LENGTH = 200
"""Characters of a file's name that an answer repeats."""


@dataclass(frozen=True)
class Limits:
    """The bounds of one server."""

    request_bytes: int = 32 * MEGABYTE
    """Of one request."""
    pixels: int = 50_000_000
    """Of one picture, going by its header; phones take up to 50 million in their usual mode."""
    pictures: int = 32
    """In one request."""
    waiting: int = 256
    """Pictures, and requests, that are being received or wait for their answer."""
    waiting_bytes: int = 256 * MEGABYTE
    """Of all requests that are being received or wait for their answer."""
    connections: int = 512
    head_seconds: float = 15.0
    """From the connection, or from the last answer, until the head of a request is there."""
    body_seconds: float = 30.0
    """From the head of a request until the last of its bytes."""
    decode_seconds: float = 10.0
    """For one picture; a photograph of 50 megapixels takes about one second."""
    answer_seconds: float = 120.0
    """From the head of a request until the last byte of its answer."""
    ending_seconds: float = 30.0
    """For what is being answered when the server is told to end."""


class Busy(Exception):  # noqa: N818  (named for what it says)
    """The server has as much to do as it may; asking again a moment later may help."""


class Room:
    """What is being received or waits for its answer, of all requests together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = self.pictures = self.bytes = 0

    @contextmanager
    def visit(self) -> Generator["Visit", None, None]:
        """While one request is answered.

        Raises:
            Busy: there are too many; nothing of this one was read.
        """
        if self.requests >= self._limits.waiting:
            raise Busy
        visit = Visit(self, self._limits)
        self.requests += 1
        try:
            yield visit
        finally:
            self.requests -= 1
            self.pictures -= visit.pictures
            self.bytes -= visit.bytes


class Visit:
    """The part of one request."""

    def __init__(self, room: Room, limits: Limits) -> None:
        self._room, self._limits = room, limits
        self.pictures = self.bytes = 0

    def add_bytes(self, count: int) -> None:
        """So many more were received; Busy where they are too many for the server."""
        if self._room.bytes + count > self._limits.waiting_bytes:
            raise Busy
        self.bytes += count
        self._room.bytes += count

    def add_pictures(self, count: int) -> None:
        """They wait for their answer from now on; Busy where they are too many for the server."""
        if self._room.pictures + count > self._limits.waiting:
            raise Busy
        self.pictures += count
        self._room.pictures += count
