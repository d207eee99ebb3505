"""The explain command: PNG files and one page, for a run and for a pretrained network."""

import html
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax import explain
from cnn_jax.errors import ConfigError, DataError, RunError
from cnn_jax.explaining import saliency
from cnn_jax.explaining.feature_maps import enlarged
from tests.conftest import write_image


@pytest.fixture(scope="module")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(small_run, tmp_path_factory.mktemp("explain") / "run")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("a <b>.png", "b.png", "c.png"):
        write_image(folder / name, rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    (folder / "b.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def written(run: Path, photos: Path) -> Path:
    """The folder that the command writes where nothing else is asked for."""
    assert explain.main([f"--checkpoint={run}", str(photos)]) == 0
    return run / "explain"


def test_the_page_shows_every_image_and_says_why_one_cannot_be_read(written: Path) -> None:
    page = (written / "index.html").read_text()
    assert [len(re.findall(f'id="image-{i}"', page)) for i in (1, 2, 3)] == [1, 1, 1]
    assert page.count("This image cannot be read: ") == 1
    assert "a &lt;b&gt;.png" in page
    assert "<b>.png" not in page
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith(("data:image/", "#"))
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert re.findall(r'<img[^>]* alt="(.*?)"', page) == captions
    assert all(caption.endswith(".") for caption in captions)


def test_there_is_a_png_for_each_picture(written: Path) -> None:
    names = sorted(path.relative_to(written).as_posix() for path in written.rglob("*.png"))
    assert names[-1] == "first-layer-filters.png"
    assert {Path(name).parent.as_posix() for name in names[:-1]} == {"01-a_b_", "03-c"}
    mine = {Path(name).stem for name in names if name.startswith("03")}
    steps = {f"stage-relu{i}-{j}-{kind}{i}" for i in (1, 2) for j, kind in enumerate(("conv", "relu", "pool"), start=1)}
    assert {"image", "features-relu1", "features-relu2", *steps} <= mine
    for method, count in (("grad-cam", 4), ("grad-cam++", 4), ("occlusion", 2)):  # two classes at two layers
        assert sum(name.startswith(f"{method}-") for name in mine) == count
    assert len(re.findall("<img", (written / "index.html").read_text())) == len(names)


def test_a_map_in_the_folder_is_that_of_the_predicted_class(run: Path, photos: Path, written: Path) -> None:
    classifier = cnn_jax.load(run)
    pixels = np.asarray(Image.open(photos / "c.png"))
    best = int(classifier(pixels).probabilities[0].argmax())
    maps = saliency.grad_cam(classifier.model, classifier.variables, pixels[None], np.array([best]), "relu2")
    found = np.asarray(Image.open(written / "03-c" / f"grad-cam-{best}-{best}-relu2.png"))
    np.testing.assert_array_equal(found, saliency.overlay(enlarged(pixels, 176), maps[0]))


def test_the_captions_give_sizes_ranges_and_zeros(run: Path, photos: Path, written: Path) -> None:
    classifier = cnn_jax.load(run)
    pixels = np.asarray(Image.open(photos / "c.png"))[None]
    output = np.asarray(classifier.model.activations(classifier.variables, pixels, ["relu1"])["relu1"])
    expected = f"8 x 8 x 4 values from {output.min():.3g} to {output.max():.3g}; {(output == 0).mean():.1%} are 0."
    assert expected in html.unescape((written / "index.html").read_text())


def test_layers_classes_and_methods_can_be_chosen(run: Path, photos: Path, tmp_path: Path) -> None:
    flags = [f"--checkpoint={run}", f"--output={tmp_path / 'out'}", "--layers", "pool1", "conv2", "--classes", "7"]
    assert explain.main([*flags, "--methods", "grad-cam++", "--channels=3", "--", str(photos / "c.png")]) == 0
    names = {path.stem for path in (tmp_path / "out" / "01-c").iterdir()}
    maps = {name for name in names if not name.startswith(("stage", "features", "image"))}
    assert maps == {"grad-cam++-7-7-pool1", "grad-cam++-7-7-conv2"}
    assert {name for name in names if name.startswith("features")} == {"features-pool1", "features-conv2"}
    assert "the 3 most active of 4 channels" in (tmp_path / "out" / "index.html").read_text()


def test_where_no_image_can_be_read_the_exit_code_is_1(run: Path, photos: Path, tmp_path: Path) -> None:
    assert explain.main([f"--checkpoint={run}", f"--output={tmp_path / 'out'}", str(photos / "b.png")]) == 1


@pytest.mark.parametrize(
    ("flags", "kind", "message"),
    [
        (["--layers", "conv_2"], ConfigError, "--layers: there is no layer 'conv_2'; near names: conv2"),
        (["--layers", "head"], ConfigError, "--layers: the output of head has no rows and columns"),
        (["--classes", "seven"], ConfigError, "--classes: there is no class 'seven'; near names: 0, 1"),
        (["--patch=9"], ConfigError, "--patch=9 is not possible: it must be at most 8"),
        (["--stride=0"], ConfigError, "--stride=0"),
        (["--channels=0"], ConfigError, "--channels=0"),
        (["--methods"], ConfigError, "--methods"),
        (["--model.name=vgg16"], ConfigError, "give one of them"),
        (["--output={photos}/c.png"], ConfigError, r"--output=.*c\.png cannot be written"),
    ],
)
def test_wrong_use_is_one_message(
    run: Path, photos: Path, flags: list[str], kind: type[Exception], message: str
) -> None:
    given = [flag.format(photos=photos) for flag in flags]
    with pytest.raises(kind, match=message):
        explain.main([f"--checkpoint={run}", str(photos / "c.png"), *given])


def test_images_and_runs_that_are_not_there_are_named(run: Path, photos: Path) -> None:
    with pytest.raises(ConfigError, match="which images"):
        explain.main([f"--checkpoint={run}"])
    with pytest.raises(DataError, match=r"gone\.png"):
        explain.main([f"--checkpoint={run}", "gone.png"])
    with pytest.raises(RunError, match="--checkpoint=gone"):
        explain.main(["--checkpoint=gone", str(photos)])
    with pytest.raises(ConfigError, match="51 images do not fit on a page: name 50 at most"):
        explain.main([f"--checkpoint={run}", *[str(photos / "c.png")] * 51])


@pytest.mark.long
def test_real_weights_explain_a_real_photograph(
    real_weights: Path, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn_jax.api.inference.imagenet_names", lambda: tuple(f"class {i}" for i in range(1000)))
    photo = sorted((real_data / "cats_and_dogs" / "validation" / "dogs").iterdir())[0]
    flags = [f"--model.weights={real_weights / 'mobilenet_7_5_224_tf.h5'}", f"--output={tmp_path}"]
    assert explain.main([*flags, "--methods", "grad-cam", "--", str(photo)]) == 0
    page = tmp_path / "index.html"
    assert page.stat().st_size < 5e6 / 4
    assert len(list((tmp_path / f"01-{photo.stem}").glob("grad-cam-*.png"))) == 5  # the last layer of each resolution
    first_class = int(re.findall(r"Where it sees class (\d+)", page.read_text())[0])
    assert 151 <= first_class <= 268  # the breeds of dogs
