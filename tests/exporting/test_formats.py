"""Every format: its own runtime gives the run's probabilities, without this package."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import cnn_jax
from cnn_jax import evaluate, export, predict
from cnn_jax.errors import ConfigError, DataError, RunError, WeightsError
from cnn_jax.exporting import checking, formats, losses, table
from cnn_jax.training import trained_run
from tests.conftest import write_image

pytestmark = pytest.mark.long
RUNTIMES = [name for name, format in formats.FORMATS.items() if format.suffix not in formats.KERAS_SUFFIXES]


def _images(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 11, 14, 3), dtype=np.uint8)


def _expected(run: Path, images: np.ndarray) -> np.ndarray:
    loaded = trained_run.load(run)
    return np.asarray(loaded.model.probabilities(loaded.variables, images))


def _litert(path: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    found = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(found)


def _onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(["probabilities"], {"images": images})[0]


def _saved_model(path: Path, images: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))  # whose variables go where nothing holds it
    return model.serve(tf.constant(images))["probabilities"].numpy()


def _keras(path: Path, images: np.ndarray) -> np.ndarray:
    import keras

    return keras.models.load_model(path, compile=False).predict(images, verbose=0)


@pytest.mark.parametrize(
    ("name", "runtime", "tolerance"),
    [
        ("litert", _litert, 1e-5),
        ("litert-float16", _litert, 1e-2),
        ("litert-int8", _litert, 0.1),
        ("onnx", _onnx, 1e-5),
        ("saved-model", _saved_model, 1e-5),
        ("keras", _keras, 1e-5),
    ],
)
def test_the_runtime_alone_gives_the_run_s_probabilities(
    run: Path, exported: dict[str, Path], name: str, runtime, tolerance: float
) -> None:
    found = runtime(exported[name], _images())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _expected(run, _images()), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", formats.FORMATS)
def test_an_exported_file_is_a_classifier_as_its_run_is(
    run: Path, exported: dict[str, Path], name: str, tmp_path: Path
) -> None:
    of_run, of_file = cnn_jax.load(run), cnn_jax.load(exported[name])
    assert (of_file.classes, of_file.resize, of_file.background) == (of_run.classes, of_run.resize, "white")
    image = np.random.default_rng(3).integers(0, 256, (30, 17, 3), dtype=np.uint8)
    write_image(tmp_path / "photo.png", image)
    (tmp_path / "broken.png").write_bytes(b"no image")
    tolerance = 0.1 if name == "litert-int8" else 1e-2 if name == "litert-float16" else 1e-5
    for images in (image, tmp_path / "photo.png", [image] * 3):
        expected = of_run(images).probabilities
        np.testing.assert_allclose(of_file(images).probabilities, expected, rtol=0, atol=tolerance)
    assert [result.error is None for result in of_file.stream([tmp_path])] == [False, True]


@pytest.mark.parametrize("name", RUNTIMES)
def test_what_has_no_layers_is_not_looked_into(exported: dict[str, Path], name: str) -> None:
    with pytest.raises(ConfigError, match="gives probabilities alone: to look into its layers, give the run"):
        _ = cnn_jax.load(exported[name]).model


def test_the_int8_file_takes_the_bytes_of_a_picture_and_has_weights_of_a_byte(exported: dict[str, Path]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported["litert-int8"]))
    (taken,) = interpreter.get_input_details()
    assert taken["dtype"] == np.uint8
    assert taken["quantization"] == (pytest.approx(1.0, abs=1e-6), 0)
    kernels = [tensor for tensor in interpreter.get_tensor_details() if tuple(tensor["shape"]) == (16, 3, 3, 8)]
    assert [tensor["dtype"] for tensor in kernels] == [np.int8]
    assert len(kernels[0]["quantization_parameters"]["scales"]) == 16, "one for each channel"


def test_files_say_of_themselves_what_they_need(exported: dict[str, Path]) -> None:
    import onnx

    with zipfile.ZipFile(exported["litert"]) as archive:
        assert archive.read("labels.txt").decode().split() == list("0123456789")
    properties = {entry.key: entry.value for entry in onnx.load(exported["onnx"]).metadata_props}
    assert json.loads(properties["classes"]) == list("0123456789")
    assert json.loads(properties["cnn_jax"])["resize"] == {
        "size": [11, 14],
        "fit": "crop",
        "interpolation": "bilinear",
        "antialias": False,
    }
    assert (exported["litert"].parent / "labels.txt").read_text().split() == list("0123456789")


def test_the_record_says_what_was_measured(run: Path, exported: dict[str, Path]) -> None:
    """Against scikit-learn's digits, looked up by the ids of the recorded split."""
    found = json.loads((exported["onnx"].parent / "export.json").read_text())["files"]
    assert list(found) == [path.name for path in exported.values()]
    split = json.loads((run / "split.json").read_text())["splits"]["validation"]
    classifier, digits = cnn_jax.load(exported["onnx"]), load_digits()
    chosen = np.sort(np.random.default_rng([0, len("validation")]).permutation(len(split))[:40])
    numbers = [int(split[i].removeprefix("digits/")) for i in chosen]
    pixels = np.clip(digits.images[numbers] / 16 * 255 + 0.5, 0, 255).astype(np.uint8)[..., None]
    right = classifier(pixels).probabilities.argmax(-1) == digits.target[numbers]
    checked = found["small.onnx"]["checked"]
    assert (checked["images"], checked["split"], checked["fine"]) == (40, "validation", True)
    assert checked["accuracy"] == pytest.approx(right.mean(), abs=1.5 / 40)
    assert checked["largest_difference"] < 1e-4
    assert checked["runtime"].startswith("ONNX Runtime ")
    assert found["small.tflite"]["bytes"] == exported["litert"].stat().st_size


def test_predict_takes_an_exported_file(exported: dict[str, Path], tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", _images()[0])
    assert predict.main([str(tmp_path), f"--checkpoint={exported['litert']}", f"--output={tmp_path / 'a.csv'}"]) == 0
    rows = (tmp_path / "a.csv").read_text().splitlines()
    best = cnn_jax.load(exported["litert"])(_images()[:1]).classes[0]
    assert rows[0] == "path,rank,class_index,class_name,probability"
    assert rows[1].split(",")[1:4] == ["1", best, best]


def test_a_file_that_gives_other_probabilities_ends_with_1(
    run: Path, in_this_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    honest = checking.NETWORKS["onnx"]

    def dishonest(path: Path):
        network = honest(path)
        right = network.probabilities
        network.probabilities = lambda images: right(images) * 0.999
        return network

    monkeypatch.setitem(checking.NETWORKS, "onnx", dishonest)
    flags = [f"--checkpoint={run}", f"--output={tmp_path}", "--check-images=10", "--format", "onnx"]
    assert export.main(flags) == 1
    assert "fault      small.onnx differs from the run by" in capsys.readouterr().out
    assert (tmp_path / "small.onnx").exists()


def test_without_its_images_a_file_is_held_against_the_run_on_made_up_ones(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from cnn_jax.exporting import images

    def gone(*arguments: object) -> None:
        raise DataError("there is no folder photos")

    monkeypatch.setattr(images, "open_data", gone)
    assert export.main([f"--checkpoint={run}", f"--output={tmp_path}", "--format=stablehlo"]) == 0
    out = capsys.readouterr().out
    assert "images     not there: there is no folder photos" in out
    checked = json.loads((tmp_path / "export.json").read_text())["files"]["small.stablehlo"]["checked"]
    assert checked["split"] is None
    assert "accuracy" not in checked
    assert checked["largest_difference"] < 1e-5
    with pytest.raises(DataError, match="no folder photos"):
        export.main([f"--checkpoint={run}", f"--output={tmp_path}", "--format=litert-int8"])


def test_int8_that_loses_names_its_layers(
    run: Path, exported: dict[str, Path], in_this_process: None, tmp_path: Path, monkeypatch, capsys
) -> None:
    """With a bound that any file is beyond: such a small network loses nothing."""
    monkeypatch.setattr(table, "LOSS", -2.0)
    flags = [f"--checkpoint={run}", f"--output={tmp_path}", "--check-images=20", "--format=litert-int8"]
    assert export.main(flags) == 0
    said = capsys.readouterr().out
    layers = json.loads((tmp_path / "export.json").read_text())["files"]["small-int8.tflite"]["checked"]["layers"]
    assert len(layers) == losses.SHOWN
    assert f"Most error comes in at {layers[0]['layer']} (" in said.replace("\n", " ")
    loaded = trained_run.load(run)
    known = {str(layer.name) for layer in loaded.model.layers} | {"normalise"}
    assert {layer["layer"] for layer in layers} <= known
    assert 0 < layers[0]["added"] <= layers[0]["share"] < 0.2


def test_a_folder_that_is_something_else_is_not_replaced(run: Path, exported: dict, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "small-saved-model").mkdir()
    with pytest.raises(RunError, match="there is something else there"):
        export.main([f"--checkpoint={run}", f"--output={tmp_path}", "--format", "saved-model", "--check-images=0"])
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_the_report_shows_what_was_measured(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    flags = [f"--checkpoint={tmp_path / 'run'}"]
    assert evaluate.main(flags) == 0
    assert "Exported files" not in (tmp_path / "run" / "report.html").read_text()
    assert export.main([*flags, "--format=stablehlo", "--check-images=20"]) == 0
    assert evaluate.main(flags) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    checked = json.loads((tmp_path / "run" / "export.json").read_text())["files"]["small.stablehlo"]["checked"]
    pointer = "export.json#/files/small.stablehlo/checked/accuracy"
    assert f'<data value="{checked["accuracy"]}" data-source="{pointer}">' in page


def test_a_description_of_another_file_is_not_believed(exported: dict[str, Path], tmp_path: Path) -> None:
    content = json.loads((exported["stablehlo"].parent / "export.json").read_text())
    content["files"]["small.stablehlo"]["description"]["classes"] = ["a", "b"]
    (tmp_path / "export.json").write_text(json.dumps(content))
    (tmp_path / "small.stablehlo").write_bytes(exported["stablehlo"].read_bytes())
    with pytest.raises(WeightsError, match=r"tells 10 classes apart .* says 2"):
        cnn_jax.load(tmp_path / "small.stablehlo")
