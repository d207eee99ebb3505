"""Keras models that scale their images themselves: by how much, and what is said where it is done otherwise here."""

import json
from pathlib import Path

import h5py
import keras
import pytest

from cnn_jax.errors import WeightsError
from cnn_jax.models.normalisation import IMAGENET_MEANS_BGR
from cnn_jax.weights import pretrained
from cnn_jax.weights.options import PretrainedConfig
from cnn_jax.weights.rescaling import difference
from tests.faults.commands import train
from tests.models.keras_reference import quiet_keras
from tests.training.helpers import SMALL_CNN, with_

MEANS = [-mean for mean in IMAGENET_MEANS_BGR]


def saved(path: Path, *layers: keras.layers.Layer) -> Path:
    """A file of a Keras model whose arrays fit `SMALL_CNN`, with these layers before its first."""
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for layer in layers:
        x = layer(x)
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv1")(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(8, 3, padding="same", name="conv2")(x))
    model = keras.Model(inputs, keras.layers.Dense(10, name="digits")(keras.layers.Flatten()(x)))
    with quiet_keras():
        model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return path


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_rescaling_of_another_kind_is_told_with_its_numbers(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, keras.layers.Rescaling(0.5), keras.layers.Rescaling(0.25, offset=-1))
    assert difference(path, "tf") == (
        "the model in the file scales images by its own Rescaling(scale=0.5, offset=0.0), then "
        "Rescaling(scale=0.25, offset=-1); here they become x / 127.5 - 1"
    )
    assert difference(path, None) is None


@pytest.mark.parametrize(
    ("layer", "alike"),
    [
        (lambda: keras.layers.Rescaling(1 / 127.5, offset=-1), ["tf"]),
        (lambda: keras.layers.Rescaling(1.0, offset=MEANS), ["caffe"]),
        (lambda: keras.layers.Rescaling(1.0, offset=MEANS[::-1]), []),
        (lambda: keras.layers.Rescaling(1 / 127.5), []),
        (lambda: keras.layers.Rescaling(1 / 255, offset=-1), []),
        (lambda: keras.Sequential([keras.layers.Rescaling(1 / 255)]), []),
        (lambda: keras.layers.Activation("linear"), ["tf", "caffe"]),
    ],
    ids=["tf", "caffe", "channels the other way", "other offset", "other scale", "inside a model", "none"],
)
def test_only_what_differs_is_told(tmp_path: Path, layer, alike: list[str]) -> None:
    path = saved(tmp_path / "model.keras", layer())
    assert [mode for mode in ("tf", "caffe") if difference(path, mode) is None] == alike


def test_weights_alone_say_nothing(tmp_path: Path) -> None:
    assert difference(saved(tmp_path / "model.weights.h5", keras.layers.Rescaling(1 / 255)), "tf") is None


@pytest.mark.parametrize("wrong", ["many", [1, 2], {}, None])
def test_numbers_that_are_none_are_told_as_they_are(tmp_path: Path, wrong: object) -> None:
    layers = [{"class_name": "Rescaling", "config": {"scale": wrong, "offset": 0}}]
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"config": layers})
    assert f"Rescaling(scale={json.dumps(wrong)}, offset=0)" in str(difference(tmp_path / "model.h5", "tf"))


def test_a_description_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["model_config"] = "{"
    with pytest.raises(WeightsError, match=r"model\.h5: the description of its layers is no JSON"):
        difference(tmp_path / "model.h5", "tf")


def test_training_names_other_inputs_and_the_order_of_the_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "model.keras", keras.layers.Rescaling(1 / 255))
    assert train(with_(SMALL_CNN, model={"weights": str(path)}, train={"epochs": 1}), tmp_path / "run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith("           other inputs: the model in the file scales images by its own") for line in lines
    )
    taken = "classifier from its layer digits, whose outputs are taken for 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, in this order"
    assert any(line.startswith("weights    ") and taken in line for line in lines)
    assert "other_inputs" in json.loads((tmp_path / "run" / "weights.json").read_text())


@pytest.mark.long
def test_a_classifier_of_a_run_has_the_same_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = with_(SMALL_CNN, train={"epochs": 1})
    assert train(config, tmp_path / "first") == 0
    capsys.readouterr()
    assert train(with_(config, model={"weights": str(tmp_path / "first")}), tmp_path / "second") == 0
    out = capsys.readouterr().out
    assert "classifier from its layer head\n" in out
    assert "whose outputs" not in out


def test_a_network_that_is_to_be_as_the_file_has_it_is_refused(real_weights: Path, tmp_path: Path) -> None:
    inputs = keras.Input((224, 224, 3))
    body = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(224, 224, 3))
    body.load_weights(real_weights / "mobilenet_2_5_224_tf_no_top.h5")
    path = tmp_path / "scaled.keras"
    with quiet_keras():
        keras.Model(inputs, body(keras.layers.Rescaling(1 / 255)(inputs))).save(path)
    with pytest.raises(WeightsError, match=r"scaled\.keras gives other numbers here: .*scale=0\.0039"):
        pretrained.load(PretrainedConfig("mobilenet", str(path)), need_top=False)
