"""What a LiteRT file says of itself to Google's own tools: MediaPipe Tasks reads it, in a process of its own."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cnn_jax
from cnn_jax.data.preprocess import Resize
from cnn_jax.exporting import litert
from cnn_jax.exporting.description import Description

pytestmark = pytest.mark.long
ASKED = """
import json, sys
from mediapipe import Image
from mediapipe.tasks.python.core.base_options import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions

options = ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]))
with ImageClassifier.create_from_options(options) as classifier:
    (found,) = classifier.classify(Image.create_from_file(sys.argv[2])).classifications
print(json.dumps({category.category_name: category.score for category in found.categories}))
"""


@pytest.mark.parametrize("name", ["litert", "litert-int8"])
def test_mediapipe_names_the_classes_and_gives_the_run_s_probabilities(
    run: Path, exported: dict[str, Path], name: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("needs MediaPipe: pip install mediapipe")
    pixels = np.random.default_rng(5).integers(0, 256, (11, 14, 3), dtype=np.uint8)  # of its size: nothing to resize
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    command = [sys.executable, "-c", ASKED, exported[name], tmp_path / "photo.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, classifier = json.loads(done.stdout), cnn_jax.load(run)
    assert found.keys() == set(classifier.classes)
    of_classes = [found[name] for name in classifier.classes]
    tolerance = 0.1 if name == "litert-int8" else 1e-5
    np.testing.assert_allclose(of_classes, classifier(pixels).probabilities[0], rtol=0, atol=tolerance)


def test_labels_lie_in_a_zip_at_the_end_a_line_each(exported: dict[str, Path], tmp_path: Path) -> None:
    """Of any names; that of a class with a line break is whole in the description."""
    classes = ("Kätzchen", "two\nlines", *"23456789")
    path = tmp_path / "model.tflite"
    path.write_bytes(litert.described(exported["litert"].read_bytes(), Description("mine", classes, Resize(11))))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().splitlines() == ["Kätzchen", "two lines", *"23456789"]
        begin = archive.getinfo("labels.txt").header_offset
    assert path.read_bytes()[begin : begin + 4] == b"PK\x03\x04", "places count from the beginning of the file"
