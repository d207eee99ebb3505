"""Hostile uploads by seeds: none ends the server or stalls it, and a photograph is named before, between and after."""

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.serving import hostile
from tests.serving.conftest import Server

STATUSES = {b"200", b"400", b"403", b"404", b"405", b"408", b"413", b"422", b"431", b"501", b"503"}
"""No 500: nothing was unforeseen. Empty: the connection was closed on what is no request."""
MOST_MEGABYTES = 500
"""By which the server may grow: what it may hold at once is half of that."""
SLOW = 8
"""Senders who begin, and never end."""


def send(port: int, content: bytes) -> bytes:
    """The status of the answer; empty where there was none."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        with contextlib.suppress(ConnectionError):  # a time that is up is no such error, and fails the test
            connection.sendall(content)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                heard = (heard + part)[:100]
    return heard[9:12]


def megabytes(process: int) -> float:
    return int(Path(f"/proc/{process}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def named(server: Server) -> object:
    return requests.post(server.url + "predict", data=hostile.GOOD, timeout=300).json()["images"][0]["results"]


@pytest.mark.parametrize(
    "count", [pytest.param(100, marks=pytest.mark.long), pytest.param(1000, marks=pytest.mark.slow)]
)
def test_none_of_many_hostile_uploads_ends_or_stalls_the_server(server: Server, count: int) -> None:
    expected, before, decoders = named(server), megabytes(server.process.pid), len(server.children)
    with contextlib.ExitStack() as stack:
        for seed in range(SLOW):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            slow.sendall(hostile.request(seed)[: 10 * seed])
        pool = stack.enter_context(ThreadPoolExecutor(8))
        for start in range(0, count, 50):
            seeds = range(start, min(start + 50, count))
            answers = list(pool.map(lambda seed: send(server.port, hostile.request(seed)), seeds))
            assert {*answers} <= STATUSES | {b""}, sorted(zip(answers, seeds, strict=True))
            assert named(server) == expected
    assert server.process.poll() is None
    assert len(server.children) == decoders
    assert megabytes(server.process.pid) - before < MOST_MEGABYTES
