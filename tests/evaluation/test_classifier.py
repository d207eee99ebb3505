"""The classifier as a library: arrays and files to classes and probabilities."""

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import monitoring
from jax._src.config import persistent_cache_min_compile_time_secs
from PIL import Image, ImageOps

import cnn_jax
from cnn_jax.data.preprocess import Resize
from cnn_jax.errors import DataError, RunError
from cnn_jax.evaluation.classifier import Classifier, top
from cnn_jax.io.tensorflow import tf
from cnn_jax.training import trained_run
from tests.conftest import write_image
from tests.data.pictures import encode, oriented, photograph, see_through
from tests.training.helpers import SMALL_CNN, train, with_


@pytest.fixture(scope="module")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(small_run, tmp_path_factory.mktemp("classifier") / "run")


@pytest.fixture(scope="module")
def classifier(run: Path) -> Classifier:
    return cnn_jax.load(run)


def _expected(run: Path, images: list[np.ndarray]) -> np.ndarray:
    """Softmax in float64 of the logits of the images, resized one by one."""
    loaded = trained_run.load(run)
    batch = np.stack([np.asarray(Resize(8)(tf().constant(image))) for image in images])
    logits = np.asarray(loaded.model.logits(loaded.variables, batch), np.float64)
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.sample(2)
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
    loaded, classifier = trained_run.load(tmp_path / "run"), cnn_jax.load(tmp_path / "run")
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


def _bytes(image: Image.Image) -> bytes:
    return encode(image, "PNG")


@pytest.mark.parametrize("kind", ["path", "Path", "bytes", "file object", "Pillow", "array", "JAX"])
def test_an_image_is_the_same_in_whatever_form_it_comes(classifier: Classifier, tmp_path: Path, kind: str) -> None:
    image = photograph()
    image.save(tmp_path / "a.png")
    forms = {
        "path": lambda: str(tmp_path / "a.png"),
        "Path": lambda: tmp_path / "a.png",
        "bytes": lambda: _bytes(image),
        "file object": lambda: io.BytesIO(_bytes(image)),
        "Pillow": lambda: Image.open(tmp_path / "a.png"),  # of which only the header is read
        "array": lambda: np.asarray(image),
        "JAX": lambda: jnp.asarray(np.asarray(image)),
    }
    expected = classifier(np.asarray(image)[None]).probabilities
    np.testing.assert_array_equal(classifier(forms[kind]()).probabilities, expected)
    several = classifier([forms[kind](), np.zeros((9, 9, 3), np.uint8), forms[kind]()]).probabilities
    np.testing.assert_allclose(several[[0, 2]], np.repeat(expected, 2, 0), rtol=1e-5, atol=1e-7)
    assert not np.allclose(several[1], expected[0], rtol=1e-5)


def test_grey_and_see_through_arrays_are_what_their_pictures_are(classifier: Classifier) -> None:
    for image in (photograph().convert("L"), see_through(), see_through().convert("LA")):
        expected = classifier(_bytes(image)).probabilities
        np.testing.assert_array_equal(classifier(np.asarray(image)).probabilities, expected)
        np.testing.assert_array_equal(classifier(image).probabilities, expected)
    white, black = (np.full((8, 8, 4), (value, value, value, 0), np.uint8) for value in (255, 0))
    np.testing.assert_array_equal(classifier(white).probabilities, classifier(black).probabilities)


def test_a_pillow_image_comes_the_right_way_up_and_stays_as_it_is(classifier: Classifier) -> None:
    lying = Image.open(io.BytesIO(encode(photograph(), "JPEG", exif=oriented(6))))
    upright = classifier(ImageOps.exif_transpose(lying)).probabilities
    np.testing.assert_array_equal(classifier([lying]).probabilities, upright)
    assert (lying.size, lying.getexif()[0x0112]) == ((53, 37), 6)


def test_a_run_shows_through_what_it_was_trained_with(run: Path) -> None:
    loaded = trained_run.load(run)
    dropping = replace(loaded, config=with_(loaded.config, data={"background": "drop"})).classifier()
    found = dropping([see_through(), _bytes(see_through())]).probabilities
    hidden = np.asarray(see_through().convert("RGB"))
    np.testing.assert_allclose(found, _expected(run, [hidden, hidden]), rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8, 3)), r"float64\[2, 8, 8, 3\]. Of 0 to 1, give \(images \* 255\)"),
        (np.zeros((8, 8), np.uint16), r"image must be uint8\[h, w\].* this is uint16\[8, 8\]"),
        (np.zeros((5, 8, 8), np.uint8), r"need an axis for their channel"),
        (np.zeros((8, 8, 0), np.uint8), r"image must be"),
        (np.zeros((2, 0, 8, 3), np.uint8), r"image has no pixels"),
        ([np.zeros((8, 8, 3), np.uint8), 7], r"image 1 is a int: give a path"),
        (None, r"image is a NoneType: give a path"),
        ([b"no image"], r"image 0 cannot be read as an image: its content is none of JPEG"),
        (b"", r"image cannot be read as an image: it is empty"),
        (io.StringIO("text"), r"opened as text: open it with mode 'rb'"),
        (
            [Image.fromarray(np.full((2, 2), 70_000, np.int32))],
            r"image 0 cannot be read as an image: its integers go from",
        ),
        (["gone.png", b""], r"gone.png: there is no such file"),
    ],
)
def test_what_is_no_image_is_refused_with_what_it_is(classifier: Classifier, images: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classifier(images)


def test_no_images_are_no_results(classifier: Classifier) -> None:
    for nothing in ([], np.zeros((0, 8, 8, 3), np.uint8)):
        assert classifier(nothing).probabilities.shape == (0, 10)


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
import io, sys, numpy, PIL.Image, cnn_jax
from cnn_jax import predict
run, photo = sys.argv[1:]
classifier = cnn_jax.load(run)
classifier(numpy.zeros((2, 9, 9, 3), numpy.uint8)), classifier(photo)
classifier(numpy.zeros((2001, 3, 3, 3), numpy.uint8))
content = open(photo, "rb").read()
classifier([photo, content, io.BytesIO(content), PIL.Image.open(photo), numpy.zeros((9, 9, 4), numpy.uint8)])
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
