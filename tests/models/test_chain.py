"""Chains of layers: taps, frozen layers, dropout, look-up by name, sizes; and the small network against Keras'."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models.building import build
from cnn_jax.models.chain import Chain, Variables, layer_index, layer_names
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Dense, DepthwiseConv, Dropout, GlobalAveragePool
from cnn_jax.models.model import Model
from tests.models.keras_reference import load, save_legacy

LAYERS = (
    Conv(4, (3, 3), use_bias=False, name="conv_a"),
    BatchNorm(name="bn_a"),
    Activation("relu6", name="relu_a"),
    Conv(5, (1, 1), use_bias=False, name="conv_b"),
    BatchNorm(name="bn_b"),
    Activation("relu", name="relu_b"),
    GlobalAveragePool(name="pool"),
    Dropout(0.5, name="dropout"),
    Dense(3, name="head"),
)
CHAIN = Chain(LAYERS)


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return jax.random.normal(jax.random.key(0), (4, 6, 6, 3))


@pytest.fixture(scope="module")
def variables(images: jax.Array) -> Variables:
    """Initialised, then every leaf moved off its default; variances stay positive."""
    rng = np.random.default_rng(0)
    initial = Model(LAYERS, 6, None).init(1)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.uniform(0.1, 1, leaf.shape), leaf.dtype), initial)


def train(
    variables: Variables, images: jax.Array, *, key: int = 2, frozen: tuple[str, ...] = (), taps: tuple[str, ...] = ()
) -> tuple[jax.Array, dict[str, jax.Array], Variables]:
    rngs = {"dropout": jax.random.key(key)}
    (y, tapped), updates = CHAIN.apply(
        variables, images, train=True, inference_layers=frozen, taps=taps, mutable=["batch_stats"], rngs=rngs
    )
    return y, tapped, updates["batch_stats"]


def test_variables_are_stored_under_the_layers_names(variables):
    assert set(variables["params"]) == {"conv_a", "bn_a", "conv_b", "bn_b", "head"}
    assert set(variables["batch_stats"]) == {"bn_a", "bn_b"}


def test_taps_come_in_the_order_of_the_chain_whatever_the_order_asked_for(variables, images):
    names = layer_names(LAYERS)
    _, tapped = CHAIN.apply(variables, images, taps=names[::-1])
    assert list(tapped) == names


def test_only_the_asked_for_outputs_are_tapped(variables, images):
    _, tapped = CHAIN.apply(variables, images, taps=("relu_a", "pool"))
    assert {name: x.shape for name, x in tapped.items()} == {"relu_a": (4, 6, 6, 4), "pool": (4, 5)}


def test_each_tap_equals_running_the_chain_up_to_there(variables, images):
    _, tapped = CHAIN.apply(variables, images, taps=layer_names(LAYERS))
    for end, layer in enumerate(LAYERS, start=1):
        prefix = LAYERS[:end]
        own = {
            collection: {name: leaves for name, leaves in layers.items() if name in layer_names(prefix)}
            for collection, layers in variables.items()
        }
        result, _ = Chain(prefix).apply(own, images)
        np.testing.assert_allclose(tapped[layer.name], result, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bn", ["bn_a", "bn_b"])
def test_a_tapped_batch_norm_is_not_yet_rectified_and_changes_nothing_after_it(variables, images, bn):
    relu = bn.replace("bn", "relu")
    expected, _ = CHAIN.apply(variables, images)
    result, tapped = CHAIN.apply(variables, images, taps=(bn, relu))
    assert (tapped[bn] < 0).any()
    upper = 6 if bn == "bn_a" else np.inf
    np.testing.assert_allclose(tapped[relu], np.clip(tapped[bn], 0, upper), rtol=1e-6)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_tapped_batch_norm_does_not_change_a_training_step(variables, images):
    expected, _, expected_stats = train(variables, images)
    result, tapped, stats = train(variables, images, taps=("bn_a", "bn_b"))
    assert (tapped["bn_a"] < 0).any()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), stats, expected_stats)


def test_two_rectifiers_in_a_row_both_run():
    layers = (BatchNorm(name="bn"), Activation("relu", name="first"), Activation("relu6", name="second"))
    x = jnp.array([-4.0, 4.0, 40.0]).reshape(1, 1, 1, 3)
    y, _ = Chain(layers).apply(Model(layers, 1, None).init(0), x)
    np.testing.assert_allclose(y.ravel(), [0, 4 / np.sqrt(1.001), 6], rtol=1e-6)


def test_frozen_layers_keep_their_statistics_bit_for_bit_while_the_others_move(variables, images):
    _, _, stats = train(variables, images, frozen=("conv_a", "bn_a", "relu_a"))
    before = variables["batch_stats"]
    for leaf in ("mean", "var"):
        np.testing.assert_array_equal(stats["bn_a"][leaf], before["bn_a"][leaf])
        assert (stats["bn_b"][leaf] != before["bn_b"][leaf]).all()


def test_frozen_layers_run_on_their_moving_statistics_in_training(variables, images):
    _, inference = CHAIN.apply(variables, images, taps=("relu_a",))
    _, frozen, _ = train(variables, images, frozen=("bn_a",), taps=("relu_a",))
    _, trained, _ = train(variables, images, taps=("relu_a",))
    np.testing.assert_array_equal(frozen["relu_a"], inference["relu_a"])
    assert np.abs(trained["relu_a"] - inference["relu_a"]).max() > 1e-2


def test_the_moving_averages_take_one_hundredth_of_the_batch(variables, images):
    _, tapped, stats = train(variables, images, taps=("conv_a",))
    before = variables["batch_stats"]["bn_a"]
    batch = {"mean": tapped["conv_a"].mean((0, 1, 2)), "var": tapped["conv_a"].var((0, 1, 2))}
    for leaf in ("mean", "var"):
        np.testing.assert_allclose(stats["bn_a"][leaf], 0.99 * before[leaf] + 0.01 * batch[leaf], rtol=1e-5)


def test_initialising_leaves_the_averages_at_zero_and_one():
    stats = Model(LAYERS, 6, None).init(0)["batch_stats"]
    for layer in stats.values():
        np.testing.assert_array_equal(layer["mean"], 0)
        np.testing.assert_array_equal(layer["var"], 1)


def test_dropout_does_nothing_in_inference(variables, images):
    _, tapped = CHAIN.apply(variables, images, taps=("pool", "dropout"))
    np.testing.assert_array_equal(tapped["dropout"], tapped["pool"])


def test_dropout_does_nothing_where_its_layer_is_frozen(variables, images):
    _, tapped, _ = train(variables, images, frozen=("dropout",), taps=("pool", "dropout"))
    np.testing.assert_array_equal(tapped["dropout"], tapped["pool"])


def test_dropout_in_training_zeroes_some_and_scales_the_rest_by_the_key(variables, images):
    _, first, _ = train(variables, images, taps=("pool", "dropout"))
    _, again, _ = train(variables, images, taps=("dropout",))
    _, other, _ = train(variables, images, key=3, taps=("dropout",))
    dropped = first["dropout"] == 0
    assert 0 < dropped.sum() < dropped.size
    np.testing.assert_allclose(first["dropout"], np.where(dropped, 0, 2 * first["pool"]), rtol=1e-6)
    np.testing.assert_array_equal(first["dropout"], again["dropout"])
    assert (first["dropout"] != other["dropout"]).any()


def test_layer_index_is_the_position():
    assert [layer_index(LAYERS, name, "field") for name in layer_names(LAYERS)] == list(range(len(LAYERS)))


def test_an_unknown_layer_is_an_error_with_the_field_and_near_names():
    with pytest.raises(ConfigError, match=r"train\.freeze_until.*'convb'.*conv_b") as error:
        layer_index(LAYERS, "convb", "train.freeze_until")
    assert "dropout" not in str(error.value)


def test_a_name_like_no_layer_lists_all_of_them():
    with pytest.raises(ConfigError) as error:
        layer_index(LAYERS, "zzzzzz", "train.freeze_until")
    assert ", ".join(layer_names(LAYERS)) in str(error.value)


def test_layers_before_a_layer_end_just_before_it():
    model = build(small_config(), 2)
    assert model.layers_before("none", "field") == ()
    assert model.layers_before("conv1", "field") == ()
    assert model.layers_before("conv2", "field") == ("conv1", "relu1", "pool1")
    assert model.layers_before("head", "field") == tuple(layer_names(model.layers))[:-2]  # its dropout stays active


def small_config(**settings) -> ModelConfig:
    return ModelConfig(**{"name": "simple_cnn", "weights": "none", "image_size": 32} | settings)


def test_the_small_network_for_two_classes_has_420802_parameters():
    model = build(small_config(filters=(32, 64), image_size=224), 2)
    assert sum(leaf.size for leaf in jax.tree.leaves(model.shapes)) == 420_802


def test_a_model_without_batch_norm_has_empty_statistics_and_trains():
    model = build(small_config(filters=(2,), image_size=8), 3)
    variables = model.init(0)
    assert variables["batch_stats"] == {}
    images = jnp.zeros((2, 8, 8, 3), jnp.uint8)
    logits, stats = model.train_logits(variables, images, jax.random.key(1), ())
    assert (logits.shape, stats) == ((2, 3), {})


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": "valid", "filters": (2, 2, 2)},
        {"padding": "valid", "kernel_size": 5, "filters": (2,)},
        {"filters": (2, 2, 2, 2)},
        {"filters": (2,), "pool_size": 5},
        {"padding": "valid", "kernel_size": 7, "filters": (2, 2)},
    ],
    ids=str,
)
def test_images_too_small_for_the_layers_are_an_error_that_names_the_size(settings):
    with pytest.raises(ConfigError, match=r"model\.image_size=4 is too small for simple_cnn"):
        build(small_config(image_size=4, **settings), 2)


def test_the_smallest_image_that_leaves_a_pixel_is_accepted():
    model = build(small_config(image_size=4, filters=(2, 3)), 2)
    shapes = model.shapes
    assert shapes["params"]["head"]["kernel"].shape == (3, 2)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "settings",
    [
        {"filters": (8, 12)},
        {"filters": (8, 12, 5), "padding": "valid", "kernel_size": 2},
        {"filters": (6,), "kernel_size": 5, "strides": 2, "pool_size": 3, "pool_strides": 1},
        {"filters": (4, 3), "image_size": 35, "strides": 2},
        {"filters": (4, 3), "batch_norm": True, "dense": (6, 5)},
    ],
    ids=str,
)
def test_the_small_network_with_random_weights_equals_the_same_keras_model(settings, tmp_path):
    config = small_config(**settings)
    size = config.image_size
    keras_layers = [keras.layers.Input((size, size, 3))]
    for i, features in enumerate(config.filters, start=1):
        conv = {"strides": config.strides, "padding": config.padding, "use_bias": not config.batch_norm}
        keras_layers += [
            keras.layers.Conv2D(features, config.kernel_size, **conv, name=f"conv{i}"),
            *([keras.layers.BatchNormalization(name=f"bn{i}")] if config.batch_norm else []),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(config.pool_size, config.pool_strides),
        ]
    dense = [keras.layers.Dense(w, activation="relu", name=f"dense{i}") for i, w in enumerate(config.dense, start=1)]
    reference = keras.Sequential([*keras_layers, keras.layers.Flatten(), *dense, keras.layers.Dense(4, name="head")])
    rng = np.random.default_rng(0)
    reference.set_weights(
        [
            np.abs(rng.normal(0, 0.3, w.shape)) if w.ndim == 1 else rng.normal(0, 0.3, w.shape)
            for w in reference.get_weights()
        ]
    )
    save_legacy(reference, tmp_path / "weights.h5")
    model = build(config, 4)
    variables, transferred = load(model, tmp_path / "weights.h5")
    assert not transferred.initialised
    images = rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    expected = np.asarray(reference(images.astype(np.float32) / 127.5 - 1, training=False))
    logits = model.logits(variables, jnp.asarray(images))
    np.testing.assert_allclose(logits, expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.long
@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2"])
def test_folding_batch_norm_into_the_kernels_changes_nothing_beyond_rounding(name: str) -> None:
    model = build(ModelConfig(name=name, alpha=0.35 if name == "mobilenet_v2" else 0.25, image_size=64), 3)
    rng, variables = np.random.default_rng(0), model.init(0)
    for layer, leaves in variables["batch_stats"].items():
        for leaf in ("scale", "bias"):
            shape = variables["params"][layer][leaf].shape
            variables["params"][layer][leaf] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        leaves["mean"] = rng.normal(size=leaves["mean"].shape).astype(np.float32)
        leaves["var"] = rng.uniform(0.2, 2, leaves["var"].shape).astype(np.float32)
    images = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    unfolded = model.activations(variables, images, layer_names(model.layers))["head"]
    logits = model.logits(variables, images)
    scale = np.abs(unfolded).max()
    np.testing.assert_allclose(logits / scale, unfolded / scale, rtol=0, atol=1e-5)
    assert not np.array_equal(logits, unfolded)  # it was folded


@pytest.mark.parametrize(
    ("layer", "shape", "takes"),
    [
        (Conv(8, (1, 1), use_bias=False), (4, 2, 2, 16), True),
        (Conv(8, (1, 1), use_bias=False), (3, 2, 2, 16), False),
        (Conv(8, (1, 1), (2, 2), use_bias=False), (4, 2, 2, 16), False),
        (Conv(8, (1, 1), use_bias=False, groups=2), (2, 2, 2, 16), True),
        (Conv(8, (1, 1), use_bias=False, rounds_kernel=True), (1, 2, 2, 16), True),
        (Conv(8, (1, 1), use_bias=True), (4, 2, 2, 16), False),
        (Conv(8, (1, 1), use_bias=False, activation="relu"), (4, 2, 2, 16), False),
        (Conv(8, (1, 1), use_bias=False), jax.export.symbolic_shape("b, 2, 2, 16"), True),
        (DepthwiseConv((3, 3)), (1, 3, 3, 1000), True),
        (DepthwiseConv((3, 3)), (1, 2, 4, 1000), False),
    ],
    ids=["equal", "smaller", "strides", "groups", "rounded", "bias", "activation", "open", "depthwise", "few"],
)
def test_a_kernel_takes_the_factor_where_it_is_no_larger_than_its_output(layer, shape, takes):
    assert layer.takes_factor(shape) == takes
