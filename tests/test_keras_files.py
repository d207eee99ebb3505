"""Whole Keras models through the commands: predicted, evaluated, explained, verified, trained on and given back."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import cnn_jax
from cnn_jax import evaluate, explain, export, predict, summarize, train, verify_weights
from cnn_jax.data.preprocess import Resize
from cnn_jax.errors import ConfigError, WeightsError
from cnn_jax.models.chain import layer_names
from cnn_jax.training import trained_run
from cnn_jax.weights import keras_model
from cnn_jax.weights.verify import certify
from tests.models.keras_networks import (
    images,
    loaded,
    nested_mobilenet,
    opened,
    own_cnn,
    probabilities,
    randomise,
    saved,
)
from tests.models.keras_reference import quiet_keras
from tests.models.test_keras_networks import odds_and_ends


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course's own network for images divided by 255."""
    return saved(randomise(own_cnn()), tmp_path_factory.mktemp("own") / "mine.keras")


@pytest.fixture
def file(own: Path, tmp_path: Path) -> Path:
    """That network in a folder of its own."""
    return Path(shutil.copy(own, tmp_path))


def flags(file: Path) -> list[str]:
    return ["--model.name=keras", f"--model.weights={file}", "--model.normalisation=unit"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as found:
        return list(csv.DictReader(found))


def test_predict_names_the_classes_that_are_said(file: Path, image_folder: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out.csv"
    command = [
        str(image_folder / "train" / "red"),
        *flags(file),
        "--model.classes",
        "blue",
        "red",
        f"--output={output}",
    ]
    assert predict.main(command) == 0
    said = capsys.readouterr().out
    assert "scaling of images: none of its own; here unit" in said
    assert "names of the classes: --model.classes" in said
    found = rows(output)
    assert {row["class_name"] for row in found} == {"blue", "red"}
    first = loaded(file, normalisation="unit")
    model = keras.models.load_model(file)
    pixels = opened(found[0]["path"], Resize(32))[None]
    expected = np.asarray(model(pixels / np.float32(255)))[0]
    given = {row["class_name"]: float(row["probability"]) for row in found if row["path"] == found[0]["path"]}
    np.testing.assert_allclose([given["blue"], given["red"]], expected, atol=1e-5)
    assert first.classes is None


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("labels.txt", "0 Cat\n1 Sleepy dog\n", ("Cat", "Sleepy dog")),
        ("mine.labels.txt", "cat\ndog\n\n", ("cat", "dog")),
        ("mine.keras.classes.json", '["cat", "dog"]', ("cat", "dog")),
        ("labels.txt", "7 up\n1 dog\n", ("7 up", "1 dog")),
    ],
    ids=["numbered", "plain", "as exported", "names with numbers"],
)
def test_a_list_beside_the_file_names_the_classes(file: Path, name: str, content: str, names: tuple[str, ...]) -> None:
    file.with_name(name).write_text(content)
    assert loaded(file, normalisation="unit").classes == names


def test_another_number_of_names_is_an_error(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"--model\.classes has 3 names; .*mine\.keras tells 2 classes apart"):
        loaded(file, normalisation="unit", classes=("a", "b", "c"))
    file.with_name("labels.txt").write_text("0 cat\n")
    with pytest.raises(WeightsError, match=r"labels\.txt lists 1 classes, and .*mine\.keras tells 2 apart"):
        loaded(file, normalisation="unit")


def test_a_file_of_weights_alone_says_what_is_missing(tmp_path: Path) -> None:
    with quiet_keras():
        own_cnn().save_weights(tmp_path / "mine.weights.h5")
    with pytest.raises(WeightsError, match=r"mine\.weights\.h5 has weights alone, and does not say of which layers"):
        loaded(tmp_path / "mine.weights.h5", normalisation="unit")


@pytest.mark.long
def test_a_file_is_evaluated_explained_and_verified_as_it_is(
    file: Path, image_folder: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "evaluation.json"
    data = [f"--data.dataset=folder:{image_folder}", "--model.classes", "blue", "red", f"--output={output}"]
    assert evaluate.main([*flags(file), *data]) == 0
    record = json.loads(output.read_text())
    predictions = np.load(output.with_suffix(".npz"))
    assert (record["split"], len(predictions["labels"])) == ("validation", 10)
    report = output.with_suffix(".html").read_text()
    assert "evaluation.json#/accuracy" in report
    assert not {word for word in ("freeze_until", "checkpoint", "result.json", "data.augment") if word in report}
    photo = next((image_folder / "validation" / "red").iterdir())
    assert explain.main([str(photo), *flags(file), f"--output={tmp_path / 'page'}"]) == 0
    assert "What mine.keras sees" in (tmp_path / "page" / "index.html").read_text()
    capsys.readouterr()
    assert verify_weights.main([*flags(file), "--count=2"]) == 0
    assert "equal      every difference is at most" in capsys.readouterr().out


@pytest.mark.long
def test_layers_of_models_inside_are_compared_with_keras_one_by_one(tmp_path: Path) -> None:
    network, pixels = loaded(saved(randomise(nested_mobilenet()), tmp_path / "mine.keras")), images(2)
    names = layer_names(network.model.layers)
    certificate = certify(network, pixels)
    assert [difference.layer for difference in certificate.differences[1:-1]] == names[:-1]
    assert certificate.first_above(1e-4) is None
    params = network.variables["params"]
    wrong = {**params, "conv_pw_3": {"kernel": params["conv_pw_3"]["kernel"] * np.float32(1.01)}}
    other = certify(replace(network, variables={**network.variables, "params": wrong}), pixels).first_above(1e-4)
    assert other is not None
    assert other.layer == "conv_pw_3"


@pytest.mark.long
def test_branches_with_layers_of_one_name_are_compared_each_with_its_own(tmp_path: Path) -> None:
    certificate = certify(loaded(saved(randomise(branches()), tmp_path / "mine.keras"), normalisation="tf"), images(2))
    names = [difference.layer for difference in certificate.differences[1:-1]]
    assert names == ["a/conv", "b/conv", "multiply", "global_max_pooling2d"]
    assert certificate.first_above(1e-4) is None


@pytest.mark.long
@pytest.mark.parametrize("side", ["host", "device"])
def test_a_network_that_is_not_square_goes_through_every_command(
    side: str, image_folder: Path, tmp_path: Path, capsys
) -> None:
    size = (24, 36)
    model = randomise(own_cnn(size=size))
    file, photos = saved(model, tmp_path / "mine.keras"), sorted((image_folder / "validation" / "red").iterdir())
    pixels = np.stack([opened(photo, Resize(size)) for photo in photos])
    expected = np.asarray(model(pixels / np.float32(255)))
    output = tmp_path / "evaluation.json"
    data = [f"--data.dataset=folder:{image_folder}", "--model.classes", "blue", "red", f"--output={output}"]
    assert evaluate.main([*flags(file), *data]) == 0
    assert "keras, 24 x 36 pixels" in capsys.readouterr().out
    found = np.load(output.with_suffix(".npz"))
    logits = found["logits"][found["labels"] == 1].astype(np.float64)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), expected, atol=1e-5)
    moves = ["rotation=20", "shear=5", "zoom=0.2", "width_shift=0.1", "erasing.probability=0.5", "cutmix=0.5"]
    moves += ["crop_area 0.5 1"] if side == "host" else []
    augment = [word for move in (f"on={side}", *moves) for word in f"--data.augment.{move}".split()]
    run = tmp_path / "run"
    result = trained(file, image_folder, run, "--model.normalisation=unit", "--train.freeze_until=conv2d_1", *augment)
    assert result["frozen_unchanged"]
    assert json.loads((run / "config.json").read_text())["model"]["image_size"] == list(size)
    after = trained_run.load(run)
    np.testing.assert_allclose(
        cnn_jax.load(run)(photos).probabilities, after.model.probabilities(after.variables, pixels), atol=1e-5
    )
    assert explain.main([str(photos[0]), f"--checkpoint={run}", f"--output={tmp_path / 'page'}"]) == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert "images of 24 x 36 pixels" in page
    assert verify_weights.main([*flags(file), "--count=2"]) == 0
    assert "keras, 24 x 36 pixels" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["--data.dataset", "--checkpoint"])
def test_evaluate_says_what_it_needs(missing: str, file: Path) -> None:
    arguments = flags(file) if missing == "--data.dataset" else ["--data.dataset=folder:photos"]
    with pytest.raises(ConfigError, match=missing):
        evaluate.main(arguments)


def trained(file: Path, image_folder: Path, workdir: Path, *more: str) -> dict:
    command = [
        "--exp=keras_ft",
        f"--model.weights={file}",
        f"--data.dataset=folder:{image_folder}",
        "--data.batch_size=8",
    ]
    assert train.main([*command, f"--workdir={workdir}", "--train.epochs=1", "--report=False", *more]) == 0
    return json.loads((workdir / "result.json").read_text())


@pytest.mark.long
def test_a_run_goes_on_from_the_file_keeps_its_classifier_and_needs_the_file_no_more(
    file: Path, image_folder: Path, tmp_path: Path, capsys
) -> None:
    before = loaded(file, normalisation="unit")
    rate = ["--optimizer.learning_rate=1e-9", "--model.normalisation=unit"]
    trained(file, image_folder, tmp_path / "run", *rate)
    assert "classifier from its layer dense, whose outputs are taken for blue, red" in capsys.readouterr().out
    assert trained_run.load(tmp_path / "run").config.model.image_size == 32  # the file's
    file.unlink()
    photos = sorted((image_folder / "validation" / "red").iterdir())
    found = cnn_jax.load(tmp_path / "run")(photos).probabilities
    pixels = np.stack([opened(photo, Resize(32)) for photo in photos])
    np.testing.assert_allclose(found, probabilities(before, pixels), atol=1e-4)
    more = ["--exp=keras_ft", "--classes=2", f"--model.weights={tmp_path / 'run'}", "--model.normalisation=unit"]
    assert summarize.main([*more, "--json"]) == 0  # a run is as good as a file


@pytest.mark.long
@pytest.mark.parametrize("freeze_until", ["conv_pw_13", pytest.param("head", marks=pytest.mark.slow)])
def test_a_nested_network_trains_from_any_layer_on_and_keras_reads_what_is_exported(
    freeze_until: str, image_folder: Path, tmp_path: Path, capsys
) -> None:
    file = saved(randomise(nested_mobilenet()), tmp_path / "mine.keras")
    file.with_name("labels.txt").write_text("0 Cat\n1 Dog\n")
    result = trained(file, image_folder, tmp_path / "run", f"--train.freeze_until={freeze_until}")
    said = capsys.readouterr().out
    assert "its classes are Cat, Dog" in said
    assert "scales images by Rescaling(scale=0.00784314, offset=-1), then Normalization" in said
    assert result["frozen_unchanged"] in (True, None)
    assert (
        export.main([f"--checkpoint={tmp_path / 'run'}", "--format=keras-h5", f"--output={tmp_path / 'out.h5'}"]) == 0
    )
    model = keras.models.load_model(tmp_path / "out.h5", compile=False)
    pixels = images()
    run = trained_run.load(tmp_path / "run")
    expected = np.asarray(model(pixels.astype(np.float32), training=False))
    np.testing.assert_allclose(np.asarray(run.model.probabilities(run.variables, pixels)), expected, atol=1e-5)


def branches() -> keras.Model:
    """Two models inside of one, each with a layer called conv."""
    keras.utils.clear_session()
    x = inputs = keras.Input((32, 32, 3))
    both = [keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, name="conv")], name=n) for n in "ab"]
    x = keras.layers.GlobalMaxPooling2D()(keras.layers.Multiply()([branch(x) for branch in both]))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.mark.long
def test_branches_with_layers_of_one_name_train_and_are_restored(image_folder: Path, tmp_path: Path) -> None:
    file = saved(branches(), tmp_path / "mine.keras")
    more = ("--model.normalisation=tf", "--train.freeze_until=b/conv", "--train.frozen", "b/conv/bias")
    trained(file, image_folder, tmp_path / "run", *more)
    run = trained_run.load(tmp_path / "run")
    assert [str(layer.name) for layer in run.model.layers][:3] == ["a/conv", "b/conv", "multiply"]
    before = loaded(file, normalisation="tf").variables["params"]
    same = {
        f"{layer}/{leaf}": np.array_equal(before[layer][leaf], np.asarray(run.variables["params"][layer][leaf]))
        for layer in ("a/conv", "b/conv")
        for leaf in ("kernel", "bias")
    }
    assert same == {"a/conv/kernel": True, "a/conv/bias": True, "b/conv/kernel": False, "b/conv/bias": True}


@pytest.mark.long
def test_every_kind_of_layer_goes_back_to_keras(tmp_path: Path) -> None:
    model = randomise(odds_and_ends())
    network = loaded(saved(model, tmp_path / "mine.keras"))
    keras_model.write(tmp_path / "back.h5", network.model, network.variables, "back")
    back = keras.models.load_model(tmp_path / "back.h5", compile=False)
    pixels = images().astype(np.float32)
    np.testing.assert_allclose(back(pixels, training=False), model(pixels, training=False), atol=1e-5)
    again = loaded(tmp_path / "back.h5")
    np.testing.assert_allclose(probabilities(again, images()), model(pixels, training=False), atol=1e-5)


@pytest.mark.long
def test_another_size_than_the_files_is_an_error(file: Path, image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.image_size=64: the network in .*mine\.keras takes images of 32"):
        trained(file, image_folder, tmp_path / "run", "--model.image_size=64", "--model.normalisation=unit")


@pytest.mark.long
def test_a_network_of_keras_applications_comes_by_its_name_and_is_made_once(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, whole = [], keras.applications.MobileNet

    def small(weights: str) -> keras.Model:
        made.append(weights)
        return randomise(whole(weights=None, alpha=0.25, input_shape=(32, 32, 3), classes=10))

    monkeypatch.setattr(keras.applications, "MobileNet", small)
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    named = ["--model.name=keras", "--model.weights=keras:MobileNet"]
    photos = image_folder / "train" / "red"
    with quiet_keras():
        for _ in range(2):
            assert predict.main([str(photos), *named, "--top=10", f"--output={tmp_path / 'out.csv'}"]) == 0
    assert made == ["imagenet"]
    model = keras.models.load_model(tmp_path / "cache" / "weights" / "keras" / "MobileNet.keras")
    first = [row for row in rows(tmp_path / "out.csv") if row["path"] == str(sorted(photos.iterdir())[0])]
    expected = np.asarray(model(opened(first[0]["path"], Resize(32))[None] / np.float32(127.5) - 1))[0]
    np.testing.assert_allclose([float(row["probability"]) for row in first], np.sort(expected)[::-1], atol=1e-5)
    with pytest.raises(ConfigError, match="no such network; near names: MobileNet"):
        predict.main([str(photos), "--model.name=keras", "--model.weights=keras:MobilNet"])
    with pytest.raises(ConfigError, match=r"which is for model\.name=keras"):
        predict.main([str(photos), "--model.weights=keras:MobileNet"])
