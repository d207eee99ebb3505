"""Finding the weights file: the order of the folders, and the download, from a server on this machine."""

import gc
import hashlib
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError, WeightsError
from cnn_jax.weights import catalog
from cnn_jax.weights.locate import cache_folder, locate

FILE = "mobilenet_1_0_224_tf_no_top.h5"
IMAGENET = ModelConfig()
HASHED = ModelConfig(alpha=0.25)
HASHED_FILE = "mobilenet_2_5_224_tf_no_top.h5"
BODY = bytes(range(256)) * 64


@dataclass(frozen=True)
class Places:
    """Empty folders that the environment names."""

    weights: Path
    cache: Path
    keras: Path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """Every place that is looked into lies in `tmp_path`, and the address of the files leads nowhere."""
    found = Places(tmp_path / "weights", tmp_path / "cache" / "weights", tmp_path / "home" / ".keras" / "models")
    for folder in (found.weights, found.cache, found.keras):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CNN_JAX_WEIGHTS", str(found.weights))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(catalog, "KERAS_APPLICATIONS", f"http://127.0.0.1:{free_port()}")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def put(folder: Path, file: str = FILE) -> Path:
    path = folder / file
    path.write_bytes(b"x")
    return path


@dataclass
class Server:
    """What the local server answers, and what it was asked for."""

    url: str = ""
    status: int = 200
    body: bytes = BODY
    announced: int | None = None
    """The Content-Length, where it is not the body's."""
    during: Callable[[], None] | None = None
    """Called when half of the body is sent."""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(places: Places, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    answer = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.asked.append(self.path)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(answer.announced or len(answer.body)))
            self.end_headers()
            half = len(answer.body) // 2
            self.wfile.write(answer.body[:half])
            self.wfile.flush()
            if answer.during:
                answer.during()
            self.wfile.write(answer.body[half:])

        def log_message(self, *args: object) -> None:
            """No lines on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        answer.url = f"http://127.0.0.1:{http.server_address[1]}"
        monkeypatch.setattr(catalog, "KERAS_APPLICATIONS", answer.url)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield answer
        http.shutdown()
        thread.join()


def refuse(model: ModelConfig, folder: Path) -> None:
    """The error says where to fetch, where to put, and what works offline."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # the download library leaves a broken connection to be collected
        with pytest.raises(WeightsError) as error:
            locate(model)
        message = str(error.value)
        del error
        gc.collect()
    for mention in (catalog.imagenet(model).url, str(folder), "CNN_JAX_WEIGHTS", "cnn_jax.train --exp=quickstart"):
        assert mention in message


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_none_is_no_file(places):
    assert locate(ModelConfig(weights="none")) is None


def test_a_path_is_taken_before_every_folder(places, tmp_path):
    for folder in (places.weights, places.cache, places.keras):
        put(folder)
    own = put(tmp_path, "own.h5")
    assert locate(ModelConfig(weights=str(own))) == own


def test_a_path_may_start_at_home(places):
    put(Path.home(), "own.h5")
    assert locate(ModelConfig(weights="~/own.h5")) == Path.home() / "own.h5"


def test_a_path_without_a_file_is_an_error_that_names_it(places, tmp_path):
    missing = tmp_path / "missing.h5"
    with pytest.raises(WeightsError, match=r"missing\.h5.*no such file"):
        locate(ModelConfig(weights=str(missing)))


def test_a_folder_given_as_path_is_an_error(places, tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        locate(ModelConfig(weights=str(tmp_path)))


def test_folders_are_searched_in_order_weights_cache_keras(places, server):
    for folder in (places.keras, places.cache, places.weights):
        path = put(folder)
        assert locate(IMAGENET) == path
    assert server.asked == []


def test_without_a_weights_folder_the_cache_comes_first(places, monkeypatch):
    monkeypatch.delenv("CNN_JAX_WEIGHTS")
    put(places.keras)
    path = put(places.cache)
    assert locate(IMAGENET) == path


def test_the_cache_is_in_the_home_folder_unless_it_is_named(places, monkeypatch):
    assert cache_folder() == places.cache.parent
    monkeypatch.delenv("CNN_JAX_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "cnn_jax"


@pytest.mark.parametrize(
    ("alpha", "size", "file"),
    [
        (1.0, 224, "mobilenet_1_0_224_tf_no_top.h5"),
        (0.75, 192, "mobilenet_7_5_192_tf_no_top.h5"),
        (0.5, 160, "mobilenet_5_0_160_tf_no_top.h5"),
        (0.25, 128, "mobilenet_2_5_128_tf_no_top.h5"),
        (0.25, 150, "mobilenet_2_5_224_tf_no_top.h5"),
    ],
)
def test_the_file_goes_with_width_and_size_and_other_sizes_take_224(places, alpha, size, file):
    path = put(places.weights, file)
    assert locate(ModelConfig(alpha=alpha, image_size=size)) == path


@pytest.mark.parametrize("model", [ModelConfig(alpha=0.3), ModelConfig(name="simple_cnn")], ids=["width", "model"])
def test_a_model_without_pretrained_weights_is_an_error(places, model):
    with pytest.raises(ConfigError, match=r"model\.weights=imagenet"):
        locate(model)


def test_the_published_address_is_built_from_the_file(monkeypatch):
    assert catalog.imagenet(IMAGENET).url == (
        f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/{FILE}"
    )


def test_a_download_lands_in_the_cache_and_is_not_repeated(places, server):
    path = locate(IMAGENET)
    assert path == places.cache / FILE
    assert path.read_bytes() == BODY
    assert server.asked == [f"/mobilenet/{FILE}"]
    assert locate(IMAGENET) == path
    assert len(server.asked) == 1
    assert files_in(places.cache) == [FILE]


def test_a_download_makes_the_cache_folder(places, server, monkeypatch, tmp_path):
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "a" / "new"))
    assert locate(IMAGENET) == tmp_path / "a" / "new" / "weights" / FILE


def test_the_final_name_appears_only_when_the_download_is_complete(places, server):
    seen = []
    server.during = lambda: seen.append((places.cache / FILE).exists())
    locate(IMAGENET)
    assert seen == [False]


def test_a_file_with_the_known_hash_is_accepted(places, server, monkeypatch):
    monkeypatch.setitem(catalog.MD5, HASHED_FILE, hashlib.md5(BODY).hexdigest())
    assert locate(HASHED).read_bytes() == BODY


def test_a_file_with_another_hash_is_refused_and_not_kept(places, server):
    assert HASHED_FILE in catalog.MD5
    refuse(HASHED, places.cache)
    assert server.asked == [f"/mobilenet/{HASHED_FILE}"]
    assert files_in(places.cache) == []


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_error_status_is_refused_and_its_body_not_kept(places, server, status):
    server.status = status
    refuse(IMAGENET, places.cache)
    assert files_in(places.cache) == []


def test_a_truncated_body_is_refused_and_not_kept(places, server):
    server.announced = len(BODY) + 1000
    refuse(IMAGENET, places.cache)
    assert files_in(places.cache) == []


def test_a_refused_connection_is_an_error(places):
    refuse(IMAGENET, places.cache)
    assert files_in(places.cache) == []


def test_a_failed_download_can_be_repeated(places, server):
    server.status = 500
    refuse(IMAGENET, places.cache)
    server.status = 200
    assert locate(IMAGENET).read_bytes() == BODY


def test_a_cache_that_cannot_be_made_is_an_error_that_names_it(places, server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "file"))
    refuse(IMAGENET, tmp_path / "file" / "weights")
