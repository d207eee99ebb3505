"""What is drawn of filters, feature maps and the steps along the chain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.explaining import chain_walk, feature_maps
from cnn_jax.explaining.picture_folder import file_name
from cnn_jax.models.building import build
from cnn_jax.models.chain import layer_names
from cnn_jax.models.layers import Add, Conv, Dense, Flatten, GlobalAveragePool, MaxPool
from cnn_jax.models.model import Model

VGG_LIKE = Model(
    (
        Conv(4, activation="relu", name="conv_a"),
        Conv(4, activation="relu", name="conv_b"),
        Add(inputs=("conv_a", "conv_b"), name="add"),
        MaxPool(name="pool"),
        GlobalAveragePool(name="average"),
        Dense(2, name="head"),
    ),
    8,
    "caffe",
)


def test_a_separate_rectifier_shows_what_went_into_it_and_changes_nothing_after_it() -> None:
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), VGG_LIKE.shapes["params"])
    variables = {"params": params, "batch_stats": {}}
    images = jnp.asarray(rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8))
    model = chain_walk.separate_rectifiers(VGG_LIKE)
    names = layer_names(model.layers)
    assert names[:5] == ["conv_a", "conv_a_relu", "conv_b", "conv_b_relu", "add"]
    found = model.activations(variables, images, names)
    expected = VGG_LIKE.activations(variables, images, layer_names(VGG_LIKE.layers))
    for name, output in expected.items():
        separate = f"{name}_relu" if name.startswith("conv") else name
        np.testing.assert_allclose(found[separate], output, rtol=1e-5, atol=1e-4)
    assert (found["conv_b"] < 0).any()
    np.testing.assert_allclose(np.maximum(found["conv_b"], 0), found["conv_b_relu"])


@pytest.mark.parametrize(
    ("config", "selected"),
    [
        (
            ModelConfig(name="mobilenet", weights="none", image_size=64),
            ["conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"],
        ),
        (
            ModelConfig(name="vgg16", weights="none", image_size=32),
            ["block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"],
        ),
        (ModelConfig(name="simple_cnn", weights="none", image_size=16), ["relu1", "relu2"]),
    ],
    ids=lambda value: value.name if isinstance(value, ModelConfig) else "",
)
def test_the_last_layer_of_each_resolution_is_selected(config: ModelConfig, selected: list[str]) -> None:
    assert chain_walk.selection(build(config, 2)) == selected


@pytest.mark.parametrize(
    ("layer", "around"),
    [
        ("bn1", ["conv1", "bn1", "relu1", "pool1"]),
        ("pool2", ["conv2", "bn2", "relu2", "pool2"]),
        ("conv1", ["conv1", "bn1", "relu1", "pool1"]),
    ],
)
def test_a_stage_goes_from_a_convolution_to_before_the_next(layer: str, around: list[str]) -> None:
    config = ModelConfig(name="simple_cnn", weights="none", image_size=16, batch_norm=True)
    assert chain_walk.stage(build(config, 2), layer) == around


def test_a_padding_belongs_to_the_convolution_that_follows() -> None:
    model = build(ModelConfig(name="mobilenet", weights="none", image_size=32), 2)
    assert chain_walk.stage(model, "conv_pw_1_relu") == ["conv_pw_1", "conv_pw_1_bn", "conv_pw_1_relu"]


def test_filters_are_in_red_green_blue_and_grey_is_zero() -> None:
    kernel = np.zeros((3, 3, 3, 2), np.float32)
    kernel[1, 1, 2, 0] = 5  # caffe's third channel is red
    kernel[0, 0, 0, 1] = -2  # and its first one blue
    name, filters = feature_maps.first_filters(VGG_LIKE, {"params": {"conv_a": {"kernel": kernel}}})
    assert name == "conv_a"
    picture = feature_maps.filter_grid(filters, [0, 1])
    tile = feature_maps.SIDE // 2
    top, middle, left = feature_maps.GAP + feature_maps.LABEL, tile // 2, feature_maps.GAP
    assert picture[top + middle, left + middle].tolist() == [255, 128, 128]
    assert picture[top + 1, left + 1].tolist() == [128, 128, 128]
    assert picture[top + 1, left + tile + feature_maps.GAP + 1].tolist() == [128, 128, 0]


def test_a_model_that_begins_with_a_dense_layer_has_no_filters() -> None:
    model = Model((Flatten(name="flatten"), Dense(2, name="head")), 4, "tf")
    assert feature_maps.first_filters(model, model.init(0)) is None


def test_the_most_active_channels_come_first_by_what_is_above_zero() -> None:
    output = np.zeros((4, 4, 3), np.float32)
    output[..., 0], output[..., 1], output[0, 0, 2] = -9, 1, 4
    assert feature_maps.most_active(output, 2).tolist() == [1, 2]
    assert feature_maps.most_contrast(output) == 2
    assert feature_maps.strongest_filters(np.array([1.0, -3, 2]).reshape(1, 1, 1, 3), 2).tolist() == [1, 2]


def test_colours_say_the_sign() -> None:
    picture = feature_maps.coloured(np.array([[-2.0, 0, 2]]), signed=True).astype(int)
    blue, white, red = picture[0]
    assert blue[2] > blue[0] + 40
    assert red[0] > red[2] + 40
    assert white.min() > 240
    dark, bright = feature_maps.coloured(np.array([[0.0, 3]]), signed=False)[0].astype(int)
    assert bright.sum() > dark.sum() + 200


def test_small_maps_keep_sharp_pixels_and_large_ones_are_averaged() -> None:
    pixels = np.array([[[0] * 3, [255] * 3]], np.uint8)
    assert feature_maps.enlarged(pixels, 8)[..., 0].tolist() == [[0] * 4 + [255] * 4] * 4
    assert feature_maps.enlarged(np.tile(pixels, (4, 2, 1)), 2)[..., 0].ravel().tolist() == [128] * 4


def test_any_text_becomes_a_file_name() -> None:
    assert file_name("a/b: ü?") == "a_b_ü_"
    assert len(file_name("x" * 300)) == 80
