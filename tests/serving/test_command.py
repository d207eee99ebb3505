"""The command `serve`: what it refuses before anything is loaded, and how it ends."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import requests

from cnn_jax import serve
from cnn_jax.errors import ConfigError, RunError, UserError
from tests.data.pictures import encode, photograph
from tests.serving.conftest import Server

PICTURE = encode(photograph(), "PNG")
TOKEN = "a-token-of-one's-own"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ([], ConfigError, "what is to be served"),
        (["run", "--port=65536"], ConfigError, "--port=65536 is not possible: it must be from 0 to 65535"),
        (["run", "--megabytes=0"], ConfigError, "--megabytes=0"),
        (["run", "--megapixels=179"], ConfigError, "--megapixels=179"),
        (["run", "--queue=0"], ConfigError, "--queue=0"),
        (["gone", "--port=0"], RunError, "^gone: there is no such directory"),
        ([str(Path(__file__).parent), "--port=0"], RunError, "is neither a run directory"),
        (["run", "run", "--port=0"], ConfigError, "run is named twice"),
        (["run", "--host=no.such.host.invalid"], ConfigError, "--host=no.such.host.invalid is not possible"),
        (["run", "--host=192.0.2.1", "--port=0"], ConfigError, "--host=192.0.2.1 --port=0 is not possible"),
    ],
)
def test_wrong_use_is_one_message(arguments: list[str], kind: type[UserError], message: str) -> None:
    with pytest.raises(kind, match=message):
        serve.main(arguments)


def test_a_port_that_is_taken_is_one_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port={port} is taken: give another, or --port=0"):
            serve.main(["run", f"--port={port}"])


def test_a_token_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("", "short", "with a line\nbreak in it"):
        monkeypatch.setenv(serve.TOKEN, token)
        with pytest.raises(ConfigError, match="CNN_JAX_TOKEN must be 16 characters"):
            serve.main(["run", "--port=0"])


def test_without_its_libraries_the_line_that_installs_them_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "starlette", None)
    with pytest.raises(ConfigError, match=r"serving needs starlette: pip install 'cnn_jax\[serve\]'"):
        serve.main(["run", "--port=0"])


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_when_it_is_told_to_and_leaves_nothing_behind(
    served_runs: list[Path], tmp_path: Path, number: signal.Signals
) -> None:
    with Server(served_runs[0], CNN_JAX_TOKEN=TOKEN, TMPDIR=str(tmp_path)) as server:
        assert requests.post(server.url + "predict", data=PICTURE, timeout=300).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        asked = requests.post(server.url + "predict", data=PICTURE, headers=headers, timeout=300)
        assert len(asked.json()["images"]) == 1
        children = server.children
        assert len(children) == os.cpu_count()
        assert server.stop(number) == 0
        assert server.said.splitlines()[-1] == "ended      1 pictures answered"
        assert TOKEN not in server.said
        assert not [child for child in children if Path(f"/proc/{child}").exists()]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_server_for_other_machines_makes_a_token(served_runs: list[Path]) -> None:
    with Server(served_runs[0], "--host=0.0.0.0") as server:
        token = server.address.partition("#token=")[2]
        assert len(token) > 40
        local = f"http://127.0.0.1:{server.port}/"
        assert requests.get(local, timeout=300).status_code == 200
        assert token not in requests.get(local, timeout=300).text
        for path in ("models", "openapi.json", "predict", "explain"):
            assert requests.get(local + path, timeout=300).status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.get(local + "models", headers=headers, timeout=300).status_code == 200


@pytest.mark.long
def test_decoders_end_with_a_server_that_is_killed(served_runs: list[Path]) -> None:
    with Server(served_runs[0]) as server:
        children = server.children
        server.process.kill()
        server.process.wait()
        for child in children:
            subprocess.run(["timeout", "60", "tail", f"--pid={child}", "-f", os.devnull], check=True)
