"""Finding the weights file: the order of the folders, and the download, from a server on this machine."""

import contextlib
import gc
import hashlib
import io
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError, FetchError, WeightsError
from cnn_jax.models.architectures.registry import ARCHITECTURES
from cnn_jax.weights import catalog
from cnn_jax.weights import locate as locating
from cnn_jax.weights.locate import cache_folder, locate
from tests.conftest import free_port

ATTEMPTS = 1 + locating.RETRIES
FILE = "mobilenet_1_0_224_tf_no_top.h5"
IMAGENET = ModelConfig()
HASHED = ModelConfig(alpha=0.25)
HASHED_FILE = "mobilenet_2_5_224_tf_no_top.h5"


def hdf5() -> bytes:
    """A small HDF5 file: what a download must bring, whatever is in it."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["numbers"] = np.arange(4096.0)
    return content.getvalue()


BODY = hdf5()


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
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the attempts
    return found


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
    failures: int = 0
    """So many requests get half of the body and an end."""
    stalls: int = 0
    """So many get half of the body and then nothing."""
    during: Callable[[], None] | None = None
    """Called when half of the body is sent."""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server(places: Places, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    answer, released = Server(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.asked.append(self.path)
            attempt = len(answer.asked)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(answer.announced or len(answer.body)))
            self.end_headers()
            half = len(answer.body) // 2
            self.wfile.write(answer.body[:half])
            self.wfile.flush()
            if answer.during:
                answer.during()
            if attempt <= answer.stalls:
                released.wait()
            if attempt <= max(answer.stalls, answer.failures):
                return
            self.wfile.write(answer.body[half:])

        def log_message(self, *args: object) -> None:
            """No lines on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        answer.url = f"http://127.0.0.1:{http.server_address[1]}"
        monkeypatch.setattr(catalog, "KERAS_APPLICATIONS", answer.url)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield answer
        released.set()
        http.shutdown()
        thread.join()


@contextlib.contextmanager
def broken_connections() -> Iterator[None]:
    """The download library leaves a broken connection to be collected, which warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def refuse(model: ModelConfig, folder: Path, *mentions: str) -> None:
    """The error says where to fetch, where to put, and what works offline."""
    with broken_connections():
        with pytest.raises(FetchError) as error:
            locate(model)
        message = str(error.value)
        del error
    url = catalog.imagenet(model).url
    for mention in (url, str(folder), "CNN_JAX_WEIGHTS", "cnn_jax.train --exp=quickstart", *mentions):
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


def test_a_folder_that_cannot_be_looked_into_is_not_passed_by(places, server, monkeypatch):
    put(places.keras)
    is_file = Path.is_file

    def refusing(path: Path) -> bool:
        if path.parent == places.weights:
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refusing)
    with pytest.raises(WeightsError, match=f"{places.weights}.* cannot be looked for: Permission denied"):
        locate(IMAGENET)


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


def test_every_combination_that_was_published_has_one_record_and_no_other():
    assert len({record.file for record in catalog.CATALOG}) == len(catalog.CATALOG) == 4 + 2 * 16 + 2 * 22
    of_alpha = {}
    for record in catalog.CATALOG:
        of_alpha.setdefault((record.model, record.alpha), set()).add(record.image_size)
    assert of_alpha == {
        ("vgg16", 1.0): {224},
        ("vgg19", 1.0): {224},
        **{("mobilenet", alpha): {128, 160, 192, 224} for alpha in (0.25, 0.5, 0.75, 1.0)},
        **{("mobilenet_v2", alpha): {96, 128, 160, 192, 224} for alpha in (0.35, 0.5, 0.75, 1.0)},
        ("mobilenet_v2", 1.3): {224},
        ("mobilenet_v2", 1.4): {224},
    }


def asked_by_keras(monkeypatch, application, arguments: dict) -> tuple[str, str | None]:
    """Address and hash of the file that Keras would fetch."""
    asked = []

    def get_file(name, origin, file_hash=None, **rest):
        asked.append((origin, file_hash))
        raise InterruptedError

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", get_file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InterruptedError):
            application(weights="imagenet", **arguments)
    return asked[0]


@pytest.mark.sample(1)
@pytest.mark.parametrize("top", [False, True], ids=["no_top", "top"])
@pytest.mark.parametrize(
    ("application", "model"),
    [
        ("VGG16", ModelConfig("vgg16")),
        ("VGG19", ModelConfig("vgg19")),
        ("MobileNet", ModelConfig("mobilenet", alpha=0.5, image_size=160)),
        ("MobileNetV2", ModelConfig("mobilenet_v2", alpha=1.4)),
        ("MobileNetV2", ModelConfig("mobilenet_v2", alpha=0.35, image_size=96)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.alpha}-{value.image_size}",
)
def test_address_and_hash_are_those_that_keras_itself_uses(monkeypatch, application, model, top):
    arguments = {"include_top": top, "input_shape": (model.image_size, model.image_size, 3)}
    if model.name.startswith("mobilenet"):
        arguments["alpha"] = model.alpha
    record = catalog.imagenet(model, top=top)
    assert (record.url, record.md5) == asked_by_keras(monkeypatch, getattr(keras.applications, application), arguments)


def test_the_fully_connected_layers_of_vgg_come_with_the_classifier_and_go_with_224():
    with_top, without = (catalog.imagenet(ModelConfig("vgg16", top=top)) for top in ("fc", "pool"))
    assert (with_top.top, without.top) == (True, False)
    with pytest.raises(ConfigError, match=r"model\.image_size=224, not 96; use 224, or model\.top=pool"):
        catalog.imagenet(ModelConfig("vgg16", top="fc", image_size=96))


def test_a_width_without_weights_lists_those_that_have_some():
    with pytest.raises(ConfigError, match=r"model\.alpha=0\.25; there are: 0\.35, 0\.5, 0\.75, 1\.0, 1\.3, 1\.4"):
        catalog.imagenet(ModelConfig("mobilenet_v2", alpha=0.25))


def test_every_record_has_the_preprocessing_of_its_model():
    for record in catalog.CATALOG:
        assert record.preprocessing == ARCHITECTURES[record.model].normalisation


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


@pytest.fixture
def known_hash(monkeypatch):
    """The catalog has the hash of BODY for one file."""
    md5 = hashlib.md5(BODY).hexdigest()
    records = [replace(r, md5=md5) if r.file == HASHED_FILE else r for r in catalog.CATALOG]
    monkeypatch.setattr(catalog, "CATALOG", tuple(records))


def test_a_file_with_the_known_hash_is_accepted(places, server, known_hash):
    assert locate(HASHED).read_bytes() == BODY


def test_a_file_with_another_hash_is_refused_and_not_kept(places, server):
    assert catalog.imagenet(HASHED).md5 is not None
    refuse(HASHED, places.cache)
    assert server.asked == [f"/mobilenet/{HASHED_FILE}"] * ATTEMPTS
    assert files_in(places.cache) == []


@pytest.mark.parametrize(
    "body", [b"<html>Sign in to this network</html>", b"", BODY[: len(BODY) // 2]], ids=["page", "empty", "half"]
)
def test_a_wrong_body_is_refused_although_no_hash_is_known(places, server, body):
    assert catalog.imagenet(IMAGENET).md5 is None
    server.body = body
    refuse(IMAGENET, places.cache, "not a whole HDF5 file")
    assert files_in(places.cache) == []


@pytest.mark.parametrize("kind", ["failures", "stalls"])
def test_a_connection_that_breaks_or_stalls_is_tried_again(places, server, monkeypatch, kind):
    monkeypatch.setattr(locating, "STALL_SECONDS", 0.2)
    setattr(server, kind, ATTEMPTS - 1)
    with broken_connections():
        assert locate(IMAGENET).read_bytes() == BODY
    assert len(server.asked) == ATTEMPTS
    assert files_in(places.cache) == [FILE]


def test_a_server_that_always_stalls_is_an_error(places, server, monkeypatch):
    monkeypatch.setattr(locating, "STALL_SECONDS", 0.2)
    server.stalls = ATTEMPTS
    refuse(IMAGENET, places.cache)
    assert files_in(places.cache) == []


@pytest.mark.long
def test_two_processes_may_download_the_same_file_at_once(places, server):
    """Both are held in the middle of the body until the other is there too."""
    both = threading.Barrier(2, timeout=300)
    server.during = both.wait
    program = (
        "import sys; from cnn_jax.config import ModelConfig; from cnn_jax.weights import catalog, locate;"
        "catalog.KERAS_APPLICATIONS = sys.argv[1]; print(locate.locate(ModelConfig()))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, server.url], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = [process.communicate(timeout=300)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert paths == [str(places.cache / FILE)] * 2
    assert (places.cache / FILE).read_bytes() == BODY
    assert files_in(places.cache) == [FILE]


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_error_status_is_refused_and_its_body_not_kept(places, server, status):
    server.status = status
    refuse(IMAGENET, places.cache, str(status))
    assert files_in(places.cache) == []
    assert len(server.asked) == (1 if status < 500 else ATTEMPTS)  # a refusal is final


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
