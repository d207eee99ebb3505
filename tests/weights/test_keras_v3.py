"""Models that users fine-tuned in Keras, in every layout that Keras 3 saves."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import WeightsError
from cnn_jax.models.building import build
from cnn_jax.weights.readers import keras_h5
from tests.models.keras_reference import application, load, quiet_keras, randomise, sample_images

CONFIG = ModelConfig("mobilenet", alpha=0.25, image_size=32)
CLASSES = 3


def flat(body: keras.Model, head: keras.layers.Layer) -> keras.Model:
    """Further layers on the body's output."""
    return keras.Model(body.input, head(keras.layers.GlobalAveragePooling2D()(body.output)))


def nested(body: keras.Model, head: keras.layers.Layer) -> keras.Model:
    """The body as one layer of a functional model, as Keras' guide to transfer learning writes it."""
    inputs = keras.layers.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(body(inputs, training=False))
    return keras.Model(inputs, head(keras.layers.Dropout(0.2)(pooled)))


def sequential(body: keras.Model, head: keras.layers.Layer) -> keras.Model:
    """The body as one layer of a Sequential model with augmentation."""
    flip = keras.layers.RandomFlip("horizontal")
    return keras.Sequential([keras.layers.Input((32, 32, 3)), flip, body, keras.layers.GlobalAveragePooling2D(), head])


def save(model: keras.Model, path: Path) -> Path:
    with quiet_keras():
        model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return path


def weights_by_layer(model: keras.Model) -> dict[str, list[np.ndarray]]:
    """Of the innermost layers, by name."""
    found: dict[str, list[np.ndarray]] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= weights_by_layer(layer)
        elif layer.get_weights():
            found[layer.name] = layer.get_weights()
    return found


ORDER = ("kernel", "scale", "bias", "mean", "var")


def assert_read_in_full(path: Path, model: keras.Model) -> None:
    read = keras_h5.read(path)
    actual: dict[str, dict[str, np.ndarray]] = {}
    for collection in read.values():
        for layer, leaves in collection.items():
            actual.setdefault(layer, {}).update(leaves)
    wanted = weights_by_layer(model)
    assert set(actual) == set(wanted)
    for layer, leaves in actual.items():
        for value, expected in zip(sorted(leaves, key=ORDER.index), wanted[layer], strict=True):
            np.testing.assert_array_equal(leaves[value], expected, strict=True, err_msg=layer)


@pytest.fixture(scope="module")
def body() -> keras.Model:
    model = application(CONFIG, top=False)
    randomise(model, np.random.default_rng(0))
    return model


@pytest.mark.sample(1)
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("make", [flat, nested, sequential])
def test_a_fine_tuned_model_is_read_in_full_and_its_classifier_becomes_the_head(tmp_path, body, make, suffix):
    model = make(body, keras.layers.Dense(CLASSES, name="my_classes"))
    if make is nested:  # saved in training: there is an optimizer in the file
        model.compile("adam", "mse")
        model.optimizer.build(model.trainable_variables)
    path = save(model, tmp_path / f"model{suffix}")
    assert_read_in_full(path, model)
    variables, transferred = load(build(CONFIG, CLASSES), path)
    assert (transferred.initialised, transferred.classifier) == ((), "my_classes")
    kernel, bias = model.get_layer("my_classes").get_weights()
    np.testing.assert_array_equal(variables["params"]["head"]["kernel"], kernel)
    np.testing.assert_array_equal(variables["params"]["head"]["bias"], bias)


@pytest.mark.sample(1)
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2"])
def test_other_architectures_are_read_in_full(tmp_path, name, suffix):
    model = application(ModelConfig(name, alpha=0.35, image_size=32), top=False)
    assert_read_in_full(save(model, tmp_path / f"model{suffix}"), model)


@pytest.mark.long
def test_a_fine_tuned_model_predicts_here_what_it_predicts_in_keras(tmp_path, body):
    model = sequential(body, keras.layers.Dense(CLASSES))
    port = build(CONFIG, CLASSES)
    variables, _ = load(port, save(model, tmp_path / "model.keras"))
    images = sample_images(32)
    expected = np.asarray(model(images / np.float32(127.5) - 1, training=False))
    np.testing.assert_allclose(
        port.logits(variables, jnp.asarray(images)), expected, atol=1e-4 * np.abs(expected).max()
    )


def test_a_classifier_for_other_classes_is_left_out_and_the_body_loaded(tmp_path, body):
    path = save(flat(body, keras.layers.Dense(CLASSES + 1, name="old")), tmp_path / "model.keras")
    _, transferred = load(build(CONFIG, CLASSES), path)
    assert transferred.initialised == ("params/head/bias", "params/head/kernel")
    assert transferred.ignored == ("params/old/bias", "params/old/kernel")


def edit(path: Path, change: Callable[[h5py.File], None]) -> Path:
    """Change the HDF5 file, or the one in the archive."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            change(file)
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "a") as file:
        change(file)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in (members | {"model.weights.h5": content.getvalue()}).items():
            archive.writestr(name, value)
    return path


def without_names(file: h5py.File) -> None:
    file.visititems(lambda name, item: item.attrs.pop("name", None) if name.endswith("vars") else None)


def test_an_archive_of_the_first_versions_takes_the_names_from_its_configuration(tmp_path, body):
    model = nested(body, keras.layers.Dense(CLASSES, name="my_classes"))
    assert_read_in_full(edit(save(model, tmp_path / "model.keras"), without_names), model)


def test_weights_of_the_first_versions_that_have_no_names_are_an_error_that_says_what_to_do(tmp_path, body):
    path = edit(save(body, tmp_path / "body.weights.h5"), without_names)
    with pytest.raises(WeightsError, match=r"body\.weights\.h5.*does not say its name.*save it as a \.keras file"):
        keras_h5.read(path)


def test_the_folder_name_of_tf_keras_2_13_is_read(tmp_path, body):
    path = save(body, tmp_path / "body.weights.h5")
    edit(path, lambda file: file.move("layers", "_layer_checkpoint_dependencies"))
    assert_read_in_full(path, body)


def test_random_generators_are_not_layers(tmp_path, body):
    def add(file: h5py.File) -> None:
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)

    assert_read_in_full(edit(save(body, tmp_path / "body.weights.h5"), add), body)


def test_a_layer_of_an_unknown_class_is_an_error_that_names_it(tmp_path):
    inputs = keras.layers.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.SeparableConv2D(4, 3, name="mine")(inputs))
    with pytest.raises(WeightsError, match="no rule reads the 3 arrays of layer 'mine'"):
        keras_h5.read(save(model, tmp_path / "model.keras"))


def test_a_batch_norm_without_its_scale_is_an_error(tmp_path, body):
    path = save(body, tmp_path / "body.weights.h5")
    edit(path, lambda file: file.__delitem__("layers/batch_normalization/vars/3"))
    with pytest.raises(WeightsError, match="no rule reads the 3 arrays of layer 'conv1_bn'"):
        keras_h5.read(path)


def test_an_archive_without_hdf5_weights_is_an_error(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {}}))
    with pytest.raises(WeightsError, match=r"no model\.weights\.h5"):
        keras_h5.read(path)


def test_a_flipped_byte_of_an_archive_is_noticed_by_its_checksum(tmp_path, body):
    path = save(body, tmp_path / "model.keras")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.keras.*CRC"):
        keras_h5.read(path)
