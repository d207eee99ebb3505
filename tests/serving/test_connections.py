"""Slow and hostile connections, with limits of a second: each ends, and the others are answered meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SERVER = """
import asyncio, sys
from starlette.responses import Response
from starlette.requests import Request
from cnn_jax.serving import replies, uploads
from cnn_jax.serving.guard import LOOPBACK, Guard
from cnn_jax.serving.limits import Busy, Limits, Room
from cnn_jax.serving.server import bind, serve
from starlette.exceptions import HTTPException

seconds = float(sys.argv[1])
limits = Limits(
    request_bytes=100_000, waiting=2, waiting_bytes=150_000, connections=50, head_seconds=seconds, body_seconds=seconds
)
room = Room(limits)
going_on = asyncio.Event()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    request = Request(scope, receive)
    try:
        if scope["method"] == "GET":
            if "go_on" in request.query_params:
                going_on.set()
            answer = Response(f"{room.requests} with {room.bytes} bytes")
        else:
            with room.visit() as visit:
                (upload,) = await uploads.read(request, limits, visit)
                if "held" in request.query_params:
                    await going_on.wait()
                if "go_on" in request.query_params:
                    going_on.set()
            answer = Response(f"{len(upload.content)} bytes")
    except HTTPException as error:
        answer = await replies.refused(request, error)
    except Busy as error:
        answer = await replies.busy(request, error)
    await answer(scope, receive, send)

with bind("127.0.0.1", 0) as bound:
    serve(Guard(app, None, LOOPBACK, 60), bound, limits, lambda: print(bound.getsockname()[1], flush=True))
print("ended")
"""


@contextmanager
def started(seconds: float = 60) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process, which is to end well when it is told to, and its port; it waits so long for heads and bodies."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(seconds)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=300)[0]
        assert (process.returncode, rest) == (0, "ended\n")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with started(1) as (_, port):
        yield port


def say(port: int, text: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=300)
    connection.sendall(text)
    return connection


def heard(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    content = b""
    with connection:
        while part := _part(connection):
            content += part
    return content


def _part(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def post(length: object, body: bytes, more: bytes = b"", query: str = "") -> bytes:
    head = f"POST /predict{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n".encode()
    return head + more + b"\r\n" + body


CLOSE = b"Connection: close\r\n"


def test_what_never_becomes_a_request_is_closed_and_others_are_answered(port: int) -> None:
    begun = [b"", b"G", b"GET / HTTP/1.1\r\nHost: local", b"POST / HTTP/1.1\r\nHost: localhost\r\nX: "]
    kept = say(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")  # answered, and then nothing comes on it
    stalled = [say(port, text) for text in begun for _ in range(5)]
    assert b"200 OK" in heard(say(port, post(3, b"abc", CLOSE)))
    for connection in stalled:
        assert b"200" not in heard(connection)
    assert b"0 with 0 bytes" in heard(kept)


def test_a_body_that_comes_too_slowly_is_ended(port: int) -> None:
    slow = say(port, post(50_000, b"abc"))
    assert b"3 bytes" in heard(say(port, post(3, b"abc", CLOSE)))
    assert b"408" in heard(slow).splitlines()[0]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (post(100_001, b""), b"413"),
        (post(10**30, b""), b"4"),
        (post("x", b"abc"), b"400"),
        (post(-1, b"abc"), b"400"),
        (post(3, b"abc", b"Content-Length: 4\r\n"), b"400"),
        (post(3, b"abc", b"Host: localhost\r\n"), b"400"),
        (post(3, b"abc", b"X: " + b"a" * 2_000_000 + b"\r\n"), b"4"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"400"),
        (b"\0" * 5000, b"400"),
        (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"ffff\r\n" + b"a" * 65535 + b"\r\n") * 2,
            b"413",
        ),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ],
    ids=range(11),
)
def test_what_is_too_long_or_no_http_is_one_answer(port: int, text: bytes, status: bytes) -> None:
    assert heard(say(port, text)).partition(b" ")[2].startswith(status)


def until(port: int, text: bytes) -> None:
    """Ask what the server holds until it is that."""
    for _ in range(3000):
        if heard(say(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + CLOSE + b"\r\n")).endswith(text):
            return
        time.sleep(0.01)
    raise AssertionError(text)


def test_more_than_the_server_may_hold_is_told_to_come_again() -> None:
    with started() as (_, port):
        large = say(port, post(80_000, b"a" * 80_000, CLOSE, "?held"))
        until(port, b"1 with 80000 bytes")
        too_much = heard(say(port, post(80_000, b"a" * 80_000, CLOSE)))
        small = say(port, post(3, b"abc", CLOSE, "?held"))
        until(port, b"2 with 80003 bytes")
        too_many = heard(say(port, post(3, b"abc", CLOSE)))
        for refused in (too_much, too_many):
            assert refused.partition(b" ")[2].startswith(b"503")
            assert b"retry-after: 1" in refused.lower()
        say(port, b"GET /?go_on HTTP/1.1\r\nHost: localhost\r\n\r\n").close()
        assert b"80000 bytes" in heard(large)
        assert b"3 bytes" in heard(small)
        until(port, b"0 with 0 bytes")


def test_what_is_being_answered_when_the_server_is_told_to_end_is_finished() -> None:
    with started() as (process, port):
        asked = say(port, post(3, b"abc", query="?held"))
        until(port, b"1 with 3 bytes")
        coming = say(port, post(4, b"abc", query="?go_on"))  # and a byte that is sent later
        until(port, b"2 with 6 bytes")
        idle = say(port, b"")
        process.send_signal(signal.SIGTERM)
        assert heard(idle) == b""
        coming.sendall(b"d")
        assert b"4 bytes" in heard(coming)
        assert b"3 bytes" in heard(asked)
        with pytest.raises(ConnectionError):
            say(port, b"")
