"""Connections, signals, and the end."""

import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cnn_jax.errors import ConfigError
from cnn_jax.serving.limits import Limits

MOST_HEAD_BYTES = 16_384
"""Of a request."""


def bind(host: str, port: int) -> socket.socket:
    """A socket at that place, which refuses connections until the server listens.

    Raises:
        ConfigError: there is no such host, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host={host} is not possible: {getattr(error, 'strerror', None) or error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"--port={port} is taken: give another, or --port=0 for any that is free") from error
        raise ConfigError(f"--host={host} --port={port} is not possible: {error.strerror}") from error
    return bound


def serve(app: ASGIApp, bound: socket.socket, limits: Limits, ready: Callable[[], None]) -> None:
    """Answer until SIGINT or SIGTERM; what is being answered then is finished. `ready` is called once it listens."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # it writes about every request that is none
    config = uvicorn.Config(
        app,
        http=_protocol(limits),
        loop="asyncio",  # uvloop would start the decoders by a plain fork, which JAX warns of
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=round(limits.head_seconds),
        timeout_graceful_shutdown=round(limits.ending_seconds),
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )
    server = _Server(config)
    server.ready = ready
    server.run(sockets=[bound])


class _Server(uvicorn.Server):
    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As the base class, but for its last act: to raise the signals again once all is finished."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _protocol(limits: Limits) -> type[H11Protocol]:
    class Protocol(H11Protocol):
        """Closes connections on which no request comes, or one that does not get to its body."""

        _watch: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_request()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._expect_request()

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch.cancel()
            super().connection_lost(exc)

        def _expect_request(self) -> None:
            if self._watch is not None:
                self._watch.cancel()
            self._watch = self.loop.call_later(limits.head_seconds, self._close_if_idle)

        def _close_if_idle(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Protocol
