"""The export command: Keras and plain JAX give the same probabilities from the files, without this package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import jax
import keras
import numpy as np
import pytest

import cnn_jax
from cnn_jax import export
from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.exporting import formats
from cnn_jax.exporting.stablehlo import serialize
from cnn_jax.models.architectures import mobilenet
from cnn_jax.models.building import build
from cnn_jax.models.layers import Conv, Dense, GlobalAveragePool, Layer, MaxPool
from cnn_jax.models.model import Model
from cnn_jax.training import trained_run
from cnn_jax.weights import keras_model
from cnn_jax.weights.readers import keras_h5
from tests.training.helpers import SMALL_CNN, train, with_

MODELS = {
    "mobilenet": ModelConfig(name="mobilenet", alpha=0.25, image_size=50),
    "mobilenet_v2": ModelConfig(name="mobilenet_v2", alpha=0.35, image_size=50),
    "vgg16": ModelConfig(name="vgg16", image_size=32),
    "simple_cnn": ModelConfig(
        name="simple_cnn", image_size=21, batch_norm=True, dense=(8,), strides=2, padding="valid", filters=(4, 6)
    ),
}
"""Odd sizes, where the paddings differ."""

PLAIN_JAX = """
import json, pathlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("cnn_jax", "flax", "keras", "tensorflow"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import jax.export
import numpy as np
network = jax.export.deserialize(bytearray(pathlib.Path(sys.argv[1]).read_bytes()))
images = np.load(sys.argv[2])
results = [np.asarray(network.call(images[:n])).tolist() for n in (1, len(images))]
print(json.dumps({"platforms": network.platforms, "results": results}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("export") / "run"
    train(with_(SMALL_CNN, train={"epochs": 1}), workdir)
    return workdir


def _images(size: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def _randomised(model: Model) -> dict:
    """Values for every parameter and statistic with which neither activations nor probabilities saturate."""
    rng = np.random.default_rng(1)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            return (rng.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(np.float32)
        low, high = (0.5, 1.5) if name in ("scale", "var") else (-0.2, 0.2)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(draw, model.shapes)


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", MODELS)
def test_keras_loads_every_model_with_equal_predictions_and_we_read_the_same_weights_back(
    name: str, tmp_path: Path
) -> None:
    config = MODELS[name]
    model, images = build(config, 3), _images(config.image_size)
    variables = _randomised(model)
    logits = np.asarray(jax.jit(lambda v, x: model.logits(v, x))(variables, images))
    variables["params"]["head"]["kernel"] /= logits.std()  # so that no probability is all but 1
    expected = np.asarray(jax.jit(lambda v, x: model.probabilities(v, x))(variables, images))
    assert expected.std(axis=0).min() > 1e-4, "the images must matter"
    path = tmp_path / "model.h5"
    keras_model.write(path, model, variables, "mine")
    loaded = keras.models.load_model(path, compile=False)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, rtol=0, atol=1e-5)
    back = keras_h5.read(path)
    for collection, layers in variables.items():
        assert back[collection].keys() == layers.keys()
        for layer, leaves in layers.items():
            for leaf, value in leaves.items():
                np.testing.assert_array_equal(back[collection][layer][leaf].reshape(value.shape), value)


@pytest.mark.parametrize("name", ["simple_cnn", "vgg16"])
def test_the_configuration_is_one_that_keras_2_and_tensorflow_js_read_too(name: str, tmp_path: Path) -> None:
    """Their layers refuse fields that they do not know, and name inputs by [layer, node, tensor, {}]."""
    keras_2 = {
        "InputLayer": {"batch_input_shape", "dtype", "sparse", "ragged"},
        "Conv2D": {"filters", "kernel_size", "strides", "padding", "use_bias", "activation", "dilation_rate", "groups"},
        "BatchNormalization": {"epsilon", "momentum", "scale", "center"},
        "Dense": {"units", "use_bias", "activation"},
        "MaxPooling2D": {"pool_size", "strides", "padding"},
        "Dropout": {"rate"},
        "ReLU": {"max_value"},
        "Rescaling": {"scale", "offset"},
        "Permute": {"dims"},
        "Cropping2D": {"cropping", "data_format"},
        "Concatenate": {"axis"},
        "GlobalAveragePooling2D": {"keepdims"},
        "Flatten": set(),
        "Softmax": set(),
    }
    model = build(MODELS[name], 3)
    keras_model.write(tmp_path / "model.h5", model, _randomised(model), "mine")
    with h5py.File(tmp_path / "model.h5") as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
    for layer in layers:
        assert layer["config"].keys() - {"name"} <= keras_2[layer["class_name"]], layer
        for node in layer["inbound_nodes"]:
            assert all(len(source) == 4 and source[1:] == [0, 0, {}] for source in node)
    assert layers[0]["config"]["batch_input_shape"] == [None, model.image_size, model.image_size, 3]


def test_layers_that_keras_lacks_are_refused(tmp_path: Path) -> None:
    class Novelty(Layer):
        def __call__(self, x, train):
            return x

    for layer, message in (
        (Novelty(name="new"), "no Keras layer for new"),
        (Conv(2, padding=((1, 0), (0, 0)), name="odd"), "explicit padding"),
    ):
        model = Model((layer,), 8, "tf")
        with pytest.raises(TypeError, match=message):
            keras_model.write(tmp_path / "model.h5", model, _randomised(model), "mine")


def test_a_run_becomes_a_keras_model_and_a_list_of_its_classes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([f"--checkpoint={run}", "--format=keras-h5", "--check-images=0"]) == 0
    loaded, images = trained_run.load(run), _images(8)
    model = keras.models.load_model(run / "small.h5", compile=False)
    expected = np.asarray(loaded.model.probabilities(loaded.variables, images))
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, rtol=0, atol=1e-6)
    assert (run / "labels.txt").read_text().split() == list("0123456789")
    assert "keras.models.load_model" in capsys.readouterr().out


def test_without_its_classifier_a_run_gives_feature_maps_and_weights_to_go_on_from(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "body.h5"
    assert export.main([f"--checkpoint={run}", "--format=keras-h5", "--top=False", f"--output={output}"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["body.h5"]
    loaded, images = trained_run.load(run), _images(8)
    features = next(layer.name for layer in reversed(loaded.model.layers) if isinstance(layer, MaxPool))
    expected = loaded.model.activations(loaded.variables, images, [features])[features]
    found = keras.models.load_model(output, compile=False).predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    further = with_(SMALL_CNN, model={"weights": str(output)}, train={"epochs": 1, "freeze_until": "head"})
    assert train(further, tmp_path / "run").result["frozen_unchanged"]
    with pytest.raises(ConfigError, match="--top=False is not possible with --format=stablehlo"):
        export.main([f"--checkpoint={run}", "--format=stablehlo", "--top=False"])


def test_a_run_becomes_a_function_that_runs_without_this_package_for_any_batch(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "function.bin"
    assert export.main([f"--checkpoint={run}", "--format=stablehlo", f"--output={output}", "--check-images=0"]) == 0
    assert (tmp_path / "labels.txt").read_text().split() == list("0123456789")
    images = _images(8, 5)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", PLAIN_JAX, str(output), str(tmp_path / "images.npy")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["platforms"] == ["cpu", "cuda", "tpu"]
    loaded = trained_run.load(run)
    expected = np.asarray(loaded.model.probabilities(loaded.variables, images))
    for result in said["results"]:
        np.testing.assert_allclose(result, expected[: len(result)], rtol=0, atol=1e-6)


def test_each_platform_gets_its_own_convolutions() -> None:
    """`lax.platform_dependent` is resolved for each platform: shifted sums on CPU, grouped convolutions elsewhere."""
    layers = (*mobilenet.body(0.25)[:7], GlobalAveragePool(name="pool"), Dense(3, name="head"))
    model = Model(layers, 20, "tf")
    variables, images = _randomised(model), _images(20)
    function = jax.export.deserialize(bytearray(serialize(model, variables)))
    assert function.platforms == ("cpu", "cuda", "tpu")
    assert "feature_group_count = 8" in function.mlir_module()
    expected = jax.jit(lambda v, x: model.probabilities(v, x))(variables, images)
    np.testing.assert_allclose(function.call(images), expected, rtol=0, atol=1e-6)


def test_a_run_that_is_not_there_and_a_place_that_cannot_be_written_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--checkpoint=gone"):
        export.main(["--checkpoint=gone", "--format=keras-h5"])
    output = tmp_path / "gone" / "x"
    for kind in ("keras-h5", "stablehlo"):
        with pytest.raises(RunError, match=r"--output=.*cannot be written"):
            export.main([f"--checkpoint={run}", f"--format={kind}", f"--output={output}", "--check-images=0"])
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        export.main(["--checkpoint=run", "--format=torchscript"])
    assert ended.value.code == 2
    assert "keras-h5" in capsys.readouterr().err


def test_a_library_that_is_missing_is_named_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"ai_edge_litert for litert; .*pip install 'cnn_jax\[litert,onnx\]'"):
        export.main(["--checkpoint=gone", "--format", "litert", "onnx"])


@pytest.mark.parametrize("flags", [["--check-images=-1"], ["--calibration-images=0"]])
def test_impossible_numbers_are_refused(flags: list[str]) -> None:
    with pytest.raises(ConfigError, match="is not possible"):
        export.main(["--checkpoint=run", "--format=onnx", *flags])


def test_labels_of_another_network_are_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    flags = [f"--checkpoint={run}", f"--output={tmp_path}", "--format=keras-h5", "--check-images=0"]
    assert export.main(flags) == 0
    assert (tmp_path / "labels.txt").read_text() == "a\nb\n"
    assert (tmp_path / "small.labels.txt").read_text().split() == list("0123456789")
    (tmp_path / "export.json").unlink()
    assert cnn_jax.load(tmp_path / "small.h5").classes == tuple("0123456789")
