"""Serve networks: a page to drop pictures on, and answers for programs.

    python -m cnn_jax.serve runs/mobilenet_ft
    python -m cnn_jax.serve runs/first runs/second --port=0
    curl --data-binary @photo.jpg localhost:8000/predict

On this machine alone, unless --host says otherwise: then every request needs a token, which is in the address that is
printed, or is what the environment variable CNN_JAX_TOKEN holds. Ctrl-C or SIGTERM ends it, once what was asked is
answered.
"""

import ipaddress
import os
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from cnn_jax.api import inference
from cnn_jax.cli import command_line
from cnn_jax.config.validation import require
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.io.escaping import printable

if TYPE_CHECKING:
    from cnn_jax.serving.limits import Limits
    from cnn_jax.serving.networks import Network
    from cnn_jax.training.run.logs import Reporter

TOKEN = "CNN_JAX_TOKEN"  # noqa: S105  (the name of an environment variable)
SHORTEST_TOKEN = 16
INSTALL = "pip install 'cnn_jax[serve]'"


@dataclass(frozen=True)
class Arguments:
    """What to serve, and where."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories (the best checkpoint of each is used), folders in their `checkpoints`, or exported files."""
    host: str = "127.0.0.1"
    """The address to listen at; 0.0.0.0 is all of this machine's. Any but this machine's own needs a token."""
    port: int = 8000
    """0: any that is free."""
    megabytes: int = 32
    """Of a request, at most."""
    megapixels: int = 50
    """Of a picture, at most."""
    queue: int = 256
    """Pictures that may wait for their answer; what comes beyond them is told to come again."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("what is to be served? Give run directories or exported files")
        require(0 <= self.port < 2**16, "--port", self.port, "from 0 to 65535")
        require(1 <= self.megabytes <= 1000, "--megabytes", self.megabytes, "from 1 to 1000")
        require(1 <= self.megapixels <= 178, "--megapixels", self.megapixels, "from 1 to 178")
        require(self.queue >= 1, "--queue", self.queue, "at least 1")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, load and compile, answer until a signal; returns the exit code."""
    arguments = command_line.parse(Arguments, argv, command="serve", description=__doc__)
    _check_libraries()
    from cnn_jax.serving.application import Application  # JAX loads only once the flags are right
    from cnn_jax.serving.batching import SIZES
    from cnn_jax.serving.guard import LOOPBACK, Guard
    from cnn_jax.serving.server import bind, serve
    from cnn_jax.training.run.logs import Reporter

    reporter, limits, begun = Reporter(), _limits(arguments), time.perf_counter()
    given = _given_token()
    with bind(arguments.host, arguments.port) as bound:
        is_local = ipaddress.ip_address(bound.getsockname()[0]).is_loopback
        token = given or (None if is_local else secrets.token_urlsafe())
        networks = _load(arguments.runs, reporter)
        for network in networks:
            network.warm_up(SIZES)
        application = Application(networks, limits)
        hosts = LOOPBACK if is_local else None
        address = _address(arguments.host, bound) + (f"#token={token}" if token and not given else "")

        def ready() -> None:
            reporter.line(f"ready      {address} after {time.perf_counter() - begun:.1f} s; Ctrl-C ends it")

        serve(Guard(application.starlette, token, hosts, limits.answer_seconds), bound, limits, ready)
    reporter.line(f"ended      {application.answered:,} pictures answered")
    return 0


def _check_libraries() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"serving needs {error.name}: {INSTALL}") from error


def _limits(arguments: Arguments) -> "Limits":
    from cnn_jax.serving.limits import MEGABYTE, Limits

    request_bytes = arguments.megabytes * MEGABYTE
    return Limits(
        request_bytes=request_bytes,
        pixels=arguments.megapixels * 10**6,
        waiting=arguments.queue,
        waiting_bytes=max(8 * request_bytes, 256 * MEGABYTE),
    )


def _given_token() -> str | None:
    token = os.environ.get(TOKEN)
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ConfigError(f"{TOKEN} must be {SHORTEST_TOKEN} characters of ASCII or more, or not be set")
    return token


def _load(paths: Sequence[Path], reporter: "Reporter") -> "list[Network]":
    from cnn_jax.serving.networks import Network

    short = [path.resolve().name for path in paths]
    names = [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]
    if len(set(names)) < len(names):
        raise ConfigError(f"{printable(max(names, key=names.count))} is named twice")
    try:
        classifiers = [inference.load(path, reporter.line) for path in paths]
    except RunError as error:  # there it is a flag
        raise RunError(str(error).removeprefix("--checkpoint=")) from error
    return [Network(printable(name), found) for name, found in zip(names, classifiers, strict=True)]


def _address(host: str, bound: socket.socket) -> str:
    """What to open in a browser."""
    place, port = bound.getsockname()[:2]
    if ipaddress.ip_address(place).is_unspecified:
        host = socket.gethostname()
    scheme = "http"  # TLS is for what stands before it
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


if __name__ == "__main__":
    command_line.run(main)
