"""The names of ImageNet's classes: where they are looked for, and what is done about a file that is none."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cnn_jax.errors import FetchError, WeightsError
from cnn_jax.weights import imagenet_classes
from cnn_jax.weights.imagenet_classes import FILE, class_names

BODY = json.dumps({str(i): [f"n{i:08}", f"thing_{i}"] for i in range(12)}).encode()
NAMES = tuple(f"thing_{i}" for i in range(12))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The folders that are looked into, in their order."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CNN_JAX_WEIGHTS", str(tmp_path / "weights"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = {
        "named": tmp_path / "weights",
        "cache": tmp_path / "cache" / "weights",
        "keras": tmp_path / "home" / ".keras" / "models",
    }
    for folder in found.values():
        folder.mkdir(parents=True)
    return found


@pytest.fixture
def server(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A local server in the place of the published address; the list is what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *args: object) -> None:
            """No lines on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        monkeypatch.setattr(imagenet_classes, "URL", f"http://127.0.0.1:{http.server_address[1]}/{FILE}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield asked
        http.shutdown()
        thread.join()


def test_the_names_are_downloaded_once_checked_by_their_hash(
    places: dict[str, Path], server: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet_classes, "MD5", hashlib.md5(BODY).hexdigest())
    assert class_names() == NAMES
    assert (places["cache"] / FILE).read_bytes() == BODY
    assert class_names() == NAMES
    assert server == [f"/{FILE}"]


@pytest.mark.long
def test_another_body_than_the_published_is_refused(places: dict[str, Path], server: list[str]) -> None:
    with pytest.raises(FetchError, match=FILE):
        class_names()
    assert list(places["cache"].iterdir()) == []


def test_a_file_at_hand_is_taken_without_asking_the_network(places: dict[str, Path], server: list[str]) -> None:
    for name in ("keras", "cache", "named"):
        (places[name] / FILE).write_text(json.dumps({"0": ["n0", name], "1": ["n1", "other"]}))
        assert class_names() == (name, "other")
    assert server == []


@pytest.mark.parametrize("text", ["", "[]x", "[1, 2]", '{"0": ["n0"]}', '{"1": ["n1", "x"]}', '{"0": 5}'])
def test_a_file_of_another_kind_is_an_error_that_names_it(places: dict[str, Path], text: str) -> None:
    (places["named"] / FILE).write_text(text)
    with pytest.raises(WeightsError, match=FILE):
        class_names()
