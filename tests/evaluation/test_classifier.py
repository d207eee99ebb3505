"""The classifier as a library: arrays and files to classes and probabilities."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jax._src import monitoring
from jax._src.config import persistent_cache_min_compile_time_secs

import cnn_jax
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.tensorflow import tf
from cnn_jax.errors import DataError, RunError
from cnn_jax.evaluation.classifier import Classifier, top
from cnn_jax.training import runs
from tests.conftest import write_image
from tests.training.helpers import SMALL_CNN, train, with_


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("classifier") / "run"
    train(with_(SMALL_CNN, train={"epochs": 1}), workdir)
    return workdir


@pytest.fixture(scope="module")
def classifier(run: Path) -> Classifier:
    return cnn_jax.load(run)


def _expected(run: Path, images: list[np.ndarray]) -> np.ndarray:
    """Softmax in float64 of the logits of the images, resized one by one."""
    loaded = runs.load(run)
    batch = np.stack([np.asarray(Resize(8)(tf().constant(image))) for image in images])
    logits = np.asarray(loaded.model.logits(loaded.variables, batch), np.float64)
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.parametrize("shape", [(5, 8, 8, 3), (70, 11, 6, 3), (3, 20, 20, 1)])
def test_arrays_of_any_size_give_the_softmax_of_the_logits(
    run: Path, classifier: Classifier, shape: tuple[int, ...]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = classifier(images)
    expected = _expected(run, list(images))
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5, atol=1e-7)
    assert found.classes == tuple(classifier.classes[i] for i in expected.argmax(-1))
    assert classifier.classes == tuple("0123456789")


def test_what_one_image_takes_is_compiled_ahead(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX's own events tell where a program came from."""
    with persistent_cache_min_compile_time_secs(0):
        cnn_jax.load(run).compile()
        fresh, events = cnn_jax.load(run), list[str]()
        monkeypatch.setattr(monitoring, "_event_listeners", [lambda event, **_: events.append(event)])
        fresh(np.zeros((9, 9, 3), np.uint8))
    found = [event for event in events if event.startswith("/jax/compilation_cache/cache_")]
    assert found == ["/jax/compilation_cache/cache_hits"]


def test_a_run_resizes_whatever_it_sees_as_it_was_trained(tmp_path: Path) -> None:
    config = with_(SMALL_CNN, train={"epochs": 1}, data={"resize": "crop", "interpolation": "nearest"})
    train(config, tmp_path / "run")
    image = np.random.default_rng(0).integers(0, 256, (9, 30, 3), dtype=np.uint8)
    write_image(tmp_path / "wide.png", image)
    loaded, classifier = runs.load(tmp_path / "run"), cnn_jax.load(tmp_path / "run")
    assert loaded.resize == Resize(8, "crop", "nearest")
    assert loaded.meta["resize"] == {"size": 8, "fit": "crop", "interpolation": "nearest", "antialias": False}
    rows = (np.arange(8) * 2 + 1) * 9 // 16
    cropped = image[rows][:, 10 + rows]
    expected = classifier(cropped).probabilities
    for given in (image, tmp_path / "wide.png"):
        np.testing.assert_array_equal(classifier(given).probabilities, expected)


def test_one_image_and_no_image_are_arrays_too(classifier: Classifier) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(classifier(image).probabilities, classifier(image[None]).probabilities)
    nothing = classifier(np.zeros((0, 8, 8, 3), np.uint8))
    assert (nothing.classes, nothing.probabilities.shape) == ((), (0, 10))


def test_paths_and_arrays_of_the_same_images_agree(run: Path, classifier: Classifier, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (8 + i, 12, 3), dtype=np.uint8) for i in range(3)]
    for i, image in enumerate(images):
        write_image(tmp_path / f"{i}.png", image)
    expected = _expected(run, images)
    np.testing.assert_allclose(classifier(tmp_path).probabilities, expected, rtol=1e-5, atol=1e-7)
    one = classifier(str(tmp_path / "1.png"))
    np.testing.assert_allclose(one.probabilities, expected[1:2], rtol=1e-5, atol=1e-7)


def test_streaming_goes_on_past_files_that_cannot_be_read(classifier: Classifier, tmp_path: Path) -> None:
    for i in range(5):
        write_image(tmp_path / f"{i}.png", np.full((8, 8, 3), 50 * i, np.uint8))
    for i in (1, 4):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    results = list(classifier.stream([tmp_path]))
    assert [Path(result.path).name for result in results] == [f"{i}.png" for i in range(5)]
    assert [result.probabilities is None for result in results] == [False, True, False, False, True]
    assert all((result.error is None) == (result.probabilities is not None) for result in results)
    with pytest.raises(DataError, match=r"1\.png cannot be read as an image"):
        classifier(tmp_path)


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((1, 8, 8, 4), np.uint8)],
    ids=["float", "two axes", "four channels"],
)
def test_arrays_of_another_kind_are_refused_with_what_they_are(classifier: Classifier, images: np.ndarray) -> None:
    with pytest.raises(DataError, match=rf"uint8\[n, h, w, 3\].* {images.dtype}\["):
        classifier(images)


def test_the_top_classes_are_best_first_and_ties_by_index() -> None:
    assert top(np.asarray([0.1, 0.4, 0.1, 0.4]), 3) == [(1, 0.4), (3, 0.4), (0, 0.1)]
    assert len(top(np.asarray([0.5, 0.5]), 5)) == 2


def test_a_directory_that_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="neither a run directory"):
        cnn_jax.load(tmp_path)


def test_importing_the_package_loads_neither_jax_nor_tensorflow() -> None:
    code = "import sys, cnn_jax; cnn_jax.load; print({'jax', 'tensorflow', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


NEEDS_NONE = """
import sys, numpy, cnn_jax
from cnn_jax import predict
run, photo = sys.argv[1:]
classifier = cnn_jax.load(run)
classifier(numpy.zeros((2, 9, 9, 3), numpy.uint8)), classifier(photo)
predict.main([photo, f"--checkpoint={run}"])
heavy = {"tensorflow", "tensorflow_datasets", "keras", "sklearn", "scipy", "matplotlib", "h5py", "pyfive"}
heavy &= set(sys.modules)
sys.exit(f"imported without need: {heavy}" if heavy else 0)
"""


def test_naming_photographs_imports_nothing_that_takes_long_and_is_not_needed(run: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "photo.jpg", np.zeros((9, 9, 3), np.uint8))
    command = [sys.executable, "-c", NEEDS_NONE, str(run), str(tmp_path / "photo.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
