"""Whole models in Keras' files give Keras' probabilities here, whatever they are made of."""

from collections.abc import Callable
from pathlib import Path

import jax
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.data.preprocess import Resize
from cnn_jax.errors import ConfigError, WeightsError
from cnn_jax.models.chain import layer_names
from cnn_jax.models.head import HEAD
from cnn_jax.weights import keras_description
from tests.models.keras_networks import (
    SIZE,
    images,
    loaded,
    mobilenet_of_two_classes,
    nested_mobilenet,
    opened,
    own_cnn,
    probabilities,
    randomise,
    saved,
)
from tests.models.keras_reference import quiet_keras

layers = keras.layers


def in_keras(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(model(pixels.astype(np.float32), training=False))


@pytest.mark.sample(1)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("make", "normalisation", "scaled"),
    [
        (lambda: own_cnn(size=(24, 36)), "unit", lambda x: x / 255),
        (nested_mobilenet, "auto", lambda x: x),
        (mobilenet_of_two_classes, "tf", lambda x: x / 127.5 - 1),
    ],
    ids=["own network, not square", "MobileNet inside", "conv_preds of 2 classes"],
)
def test_the_probabilities_are_those_of_keras(
    make: Callable[[], keras.Model], normalisation: str, scaled: Callable, suffix: str, tmp_path: Path
) -> None:
    model = randomise(make())
    network = loaded(saved(model, tmp_path / f"mine{suffix}"), normalisation=normalisation)
    pixels = images(size=network.model.image_size)
    found = probabilities(network, pixels)
    assert pixels.shape[1:3] == model.input_shape[1:3]
    np.testing.assert_allclose(found, in_keras(model, scaled(pixels.astype(np.float32))), atol=1e-5)
    assert found.std() > 1e-3
    assert (network.has_top, network.model.classes) == (True, 2)


@pytest.mark.long
def test_the_layers_keep_their_names_and_what_is_for_training_alone_is_said(tmp_path: Path) -> None:
    network = loaded(saved(nested_mobilenet(), tmp_path / "mine.keras"))
    names = layer_names(network.model.layers)
    assert [*names[:3], *names[-5:]] == [
        "rescaling", "normalization", "conv1",
        "conv_pw_13_relu", "global_average_pooling2d", "dense", "dropout", "dense_1",
    ]  # fmt: skip
    assert network.model.normalisation == "none"
    assert network.notes[0] == "scaling of images: Rescaling(scale=0.00784314, offset=-1), then Normalization"
    assert "random_flip (RandomFlip) changes images in training alone" in network.notes[1]


def test_one_value_with_a_sigmoid_becomes_two_classes(tmp_path: Path) -> None:
    model = randomise(own_cnn("sigmoid", units=1))
    found = probabilities(loaded(saved(model, tmp_path / "mine.keras"), normalisation="unit"), images())
    second = in_keras(model, images() / np.float32(255))
    np.testing.assert_allclose(found, np.concatenate([1 - second, second], axis=-1), atol=1e-5)


@pytest.mark.long
def test_one_value_without_a_sigmoid_is_a_logit_and_that_is_said(tmp_path: Path) -> None:
    model = randomise(own_cnn("linear", units=1))
    network = loaded(saved(model, tmp_path / "mine.keras"), normalisation="unit")
    second = 1 / (1 + np.exp(-in_keras(model, images() / np.float32(255))))
    np.testing.assert_allclose(probabilities(network, images())[:, 1:], second, atol=1e-5)
    assert "one value without a sigmoid is taken for the logit of the second class" in network.notes


@pytest.mark.sample(1)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_network_that_learned_its_size_from_its_first_images_is_read(suffix: str, tmp_path: Path) -> None:
    keras.utils.clear_session()
    model = keras.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(2, "softmax")])
    pixels = images(size=8)
    in_keras(model, pixels)
    network = loaded(saved(randomise(model), tmp_path / f"mine{suffix}"), normalisation="unit")
    np.testing.assert_allclose(probabilities(network, pixels), in_keras(model, pixels / np.float32(255)), atol=1e-5)


def test_a_network_for_grey_images_sees_what_pillow_makes_of_colours(tmp_path: Path) -> None:
    from PIL import Image

    model = randomise(own_cnn(channels=1))
    network = loaded(saved(model, tmp_path / "mine.keras"), normalisation="none")
    pixels = images()
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in pixels])[..., None]
    np.testing.assert_allclose(probabilities(network, pixels), in_keras(model, grey), atol=1e-5)


def odds_and_ends() -> keras.Model:
    """A network of the layers that the others lack, in branches of their own."""
    keras.utils.clear_session()
    x = inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Normalization(mean=[100.0, 110, 120], variance=[900.0, 800, 700])(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", groups=1, activation="gelu", name="stem")(x)
    wide = layers.Conv2D(8, (3, 2), dilation_rate=(2, 3), padding="same", groups=4, name="dilated")(x)
    wide = layers.LeakyReLU(0.2)(layers.LayerNormalization(epsilon=1e-5)(wide))
    deep = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="silu", name="multiplied")(x)
    deep = layers.BatchNormalization(scale=False, name="unscaled")(deep)
    deep = layers.SeparableConv2D(8, 5, padding="same", strides=1, depth_multiplier=1, name="separable")(deep)
    deep = layers.BatchNormalization(center=False, epsilon=1e-2)(deep)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    squeezed = layers.Conv2D(8, 1, activation="hard_sigmoid")(squeezed)
    gated = layers.Multiply()([layers.PReLU(shared_axes=[1, 2])(x), squeezed])
    joined = layers.Concatenate()([layers.Average()([wide, deep]), layers.Subtract()([gated, x]), (x + 3.0) * 0.5])
    joined = layers.SpatialDropout2D(0.2)(layers.GaussianNoise(0.1)(joined))
    joined = layers.AveragePooling2D(3, strides=2, padding="same")(layers.ZeroPadding2D(((1, 2), (0, 1)))(joined))
    joined = layers.UpSampling2D(2, interpolation="bilinear")(layers.Cropping2D(((1, 0), (2, 1)))(joined))
    joined = layers.ReLU(max_value=4.0, negative_slope=0.1, threshold=0.5)(layers.UpSampling2D((1, 2))(joined))
    joined = layers.Permute((2, 1, 3))(layers.MaxPooling2D((3, 2), strides=(2, 1), padding="same")(joined))
    best = layers.Maximum()([layers.GlobalMaxPooling2D()(joined), layers.GlobalAveragePooling2D()(joined)])
    flat = layers.Reshape((-1,))(layers.ELU(0.7)(layers.Reshape((2, 3, 4))(best)))
    flat = layers.BatchNormalization(name="of_vectors")(layers.Dense(10, activation="tanh", use_bias=False)(flat))
    return keras.Model(inputs, layers.Softmax()(layers.Dense(3)(layers.Dropout(0.5)(flat))))


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_every_kind_of_layer_gives_what_keras_gives(suffix: str, tmp_path: Path) -> None:
    model = randomise(odds_and_ends())
    network = loaded(saved(model, tmp_path / f"mine{suffix}"))
    pixels = images()
    names = layer_names(network.model.layers)
    outputs = {layer.name: layer.output for layer in model.layers if layer.name in names[:-1]}
    expected = keras.Model(model.input, outputs)(pixels.astype(np.float32), training=False)
    found = jax.jit(network.model.activations, static_argnames="names")(network.variables, pixels, names=tuple(names))
    for name in outputs:
        scale = np.abs(np.asarray(expected[name])).max()
        np.testing.assert_allclose(found[name] / scale, expected[name] / scale, atol=1e-5, err_msg=name)
    assert set(names) - set(outputs) == {
        "separable_depthwise",
        "add",
        "multiply_1",
        names[-1],
    }  # Keras lists no operations
    np.testing.assert_allclose(probabilities(network, pixels), in_keras(model, pixels), atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_of_one_name_in_two_models_are_told_apart(suffix: str, tmp_path: Path) -> None:
    keras.utils.clear_session()

    def branch(name: str) -> keras.Model:
        return keras.Sequential([layers.Input((SIZE, SIZE, 3)), layers.Conv2D(4, 3, name="conv")], name=name)

    x = inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Concatenate()([branch("left")(x), branch("right")(x)])
    x = layers.Dense(2, "softmax", name="top")(layers.GlobalAveragePooling2D(name="mean")(x))
    model = randomise(keras.Model(inputs, x))
    network = loaded(saved(model, tmp_path / f"mine{suffix}"), normalisation="unit")
    assert layer_names(network.model.layers)[:2] == ["left/conv", "right/conv"]
    np.testing.assert_allclose(probabilities(network, images()), in_keras(model, images() / np.float32(255)), atol=1e-5)


@pytest.mark.sample(1)
@pytest.mark.parametrize("make", [own_cnn, nested_mobilenet, mobilenet_of_two_classes])
def test_for_training_the_classifier_is_called_head_and_has_the_classes_of_the_images(
    make: Callable, tmp_path: Path
) -> None:
    path = saved(make(), tmp_path / "mine.keras")
    network = keras_description.network(path)
    headed = network.headed(ModelConfig("keras", weights="mine.keras"), 5)
    assert (headed.layers[-1].name, headed.classes, network.classes) == (HEAD, 5, 2)
    assert layer_names(headed.layers)[:-2] == layer_names(network.layers)[: len(headed.layers) - 2]


@pytest.mark.long
def test_a_network_without_a_classifier_gets_one_and_cannot_predict(tmp_path: Path) -> None:
    with quiet_keras():
        body = keras.applications.MobileNet((SIZE, SIZE, 3), 0.25, include_top=False, weights=None)
    path = saved(body, tmp_path / "body.keras")
    headed = keras_description.network(path).headed(ModelConfig("keras", weights="body.keras"), 5)
    assert layer_names(headed.layers)[-3:] == ["conv_pw_13_relu", "global_pool", HEAD]
    assert loaded(path, normalisation="tf").has_top is False


@pytest.mark.long
def test_where_the_file_does_not_say_what_values_it_takes_the_error_lists_what_is_usual(tmp_path: Path) -> None:
    path = saved(own_cnn(), tmp_path / "mine.keras")
    with pytest.raises(ConfigError, match=r"model\.normalisation: .*mine\.keras does not say.* Teachable Machine"):
        loaded(path)
    with pytest.raises(ConfigError, match=r"model\.normalisation=tf: the network scales its images itself, by Resc"):
        loaded(saved(nested_mobilenet(), path), normalisation="tf")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: own_cnn("sigmoid", units=3), "3 values with a sigmoid each"),
        (lambda: own_cnn("softmax", units=1), "one value with a softmax, always 1"),
        (
            lambda: keras.Sequential([layers.Input((8, 8, 3)), layers.Lambda(lambda x: x + 1), layers.Flatten()]),
            r"the layer lambda \(Lambda\): this class is not known here, and what .* a Lambda does is code",
        ),
        (lambda: keras.Sequential([layers.Input((8, 8, 4)), layers.Flatten()]), "1 or 3 channels"),
        (lambda: keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 1), layers.Softmax()]), "gives one row"),
    ],
)  # fmt: skip
def test_what_is_no_classifier_of_images_or_is_code_is_one_error(make: Callable, reason: str, tmp_path: Path) -> None:
    path = saved(make(), tmp_path / "mine.keras")
    with pytest.raises(WeightsError, match=rf"mine\.keras: .*{reason}"):
        loaded(path, normalisation="unit")


@pytest.mark.long
def test_teachable_machines_file_names_cats_and_dogs_as_keras_2_does(real_weights: Path, real_data: Path) -> None:
    """Keras 3 does not load it: it knows no `groups` of a depthwise convolution."""
    keras_2 = pytest.importorskip("tf_keras", reason="needs TensorFlow's Keras 2: pip install --no-deps tf_keras")
    path = real_weights / "teachable_machine_cat_dog.h5"
    network = loaded(path, normalisation="tf")
    assert network.classes == ("Cat", "Dog")
    folder = real_data / "cats_and_dogs" / "validation"
    files = [file for name in ("cats", "dogs") for file in sorted((folder / name).glob("*.jpg"))[:4]]
    pixels = np.stack([opened(file, Resize(224, "crop")) for file in files])
    found = probabilities(network, pixels)
    assert found.argmax(-1).tolist() == [0] * 4 + [1] * 4
    theirs = keras_2.models.load_model(path, compile=False)(pixels.astype(np.float32) / 127.5 - 1, training=False)
    np.testing.assert_allclose(found, np.asarray(theirs), atol=1e-5)
