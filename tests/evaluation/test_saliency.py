"""Maps of the evidence: against NumPy in float64, against Keras, and on a network that has learned where to look."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
import tensorflow as tf

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError
from cnn_jax.explaining import saliency
from cnn_jax.models.architectures import simple_cnn
from cnn_jax.models.building import build, build_imagenet
from cnn_jax.models.chain import Variables
from cnn_jax.models.layers import Activation, Add, BatchNorm, Conv, Dense, Flatten, GlobalAveragePool, MaxPool
from cnn_jax.models.model import Model

SIZE = 8
SMALL = Model(
    (
        Conv(5, name="conv"),
        Activation("relu", name="relu"),
        MaxPool(name="pool"),
        Flatten(name="flatten"),
        Dense(3, name="head"),
    ),
    SIZE,
    "tf",
)
METHODS = {"grad-cam": saliency.grad_cam, "grad-cam++": saliency.grad_cam_plus_plus}


def _random_variables(model: Model, seed: int) -> Variables:
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), model.shapes["params"])
    return {"params": params, "batch_stats": {}}


@pytest.fixture(scope="module")
def small() -> Variables:
    return _random_variables(SMALL, 0)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def _by_hand(variables: Variables, image: np.ndarray, class_index: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Output of each layer of `SMALL`, and the derivative of the logit by it: float64[h, w, c], one by one."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    padded = np.pad(image / 127.5 - 1, ((1, 1), (1, 1), (0, 0)))
    conv = np.zeros((SIZE, SIZE, 5))
    for row, column in np.ndindex(SIZE, SIZE):
        window = padded[row : row + 3, column : column + 3]
        conv[row, column] = np.tensordot(window, params["conv"]["kernel"], 3) + params["conv"]["bias"]
    relu = np.maximum(conv, 0)
    pool, by_relu = np.zeros((SIZE // 2, SIZE // 2, 5)), np.zeros_like(relu)
    by_pool = params["head"]["kernel"][:, class_index].reshape(pool.shape)
    for row, column, channel in np.ndindex(*pool.shape):
        window = relu[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        pool[row, column, channel] = window.max()
        down, right = np.unravel_index(window.argmax(), (2, 2))
        by_relu[2 * row + down, 2 * column + right, channel] = by_pool[row, column, channel]
    return {"conv": (conv, by_relu * (conv > 0)), "relu": (relu, by_relu), "pool": (pool, by_pool)}


def _map(method: str, output: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The papers' formulas, literally, and the largest value scaled to 1."""
    if method == "grad-cam":
        weights = gradient.mean((0, 1))
    else:
        denominator = 2 * gradient**2 + output.sum((0, 1)) * gradient**3
        alpha = np.divide(gradient**2, denominator, out=np.zeros_like(gradient), where=gradient > 0)
        weights = (alpha * np.maximum(gradient, 0)).sum((0, 1))
    values = np.maximum((output * weights).sum(-1), 0)
    return values / (values.max() or 1)


@pytest.mark.parametrize("method", METHODS)
def test_the_maps_are_those_of_the_papers_worked_out_by_hand(small: Variables, images: np.ndarray, method: str) -> None:
    classes = np.array([2, 0, 1])
    for layer in ("relu", "pool") if method == "grad-cam++" else ("conv", "relu", "pool"):
        found = METHODS[method](SMALL, small, images, classes, layer)
        expected = np.stack(
            [
                _map(method, *_by_hand(small, image, class_index)[layer])
                for image, class_index in zip(images, classes, strict=True)
            ]
        )
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found.max((1, 2)), expected.max((1, 2)))  # 1, or nothing at all


def test_maps_of_several_layers_at_once_are_those_of_each(small: Variables, images: np.ndarray) -> None:
    maps = saliency.class_activation_maps(SMALL, small, images, np.array([0, 1, 2]), ["pool", "relu"])
    assert list(maps) == ["pool", "relu"]
    for layer, found in maps.items():
        for method, values in zip(METHODS.values(), found, strict=True):
            expected = method(SMALL, small, images, np.array([0, 1, 2]), layer)
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_without_evidence_is_all_zero(small: Variables, images: np.ndarray, method: str) -> None:
    against = jax.tree.map(np.array, small)
    against["params"]["head"]["kernel"][:, 1] = -1
    found = METHODS[method](SMALL, against, images, np.array([1, 1, 0]), "relu")
    assert not found[:2].any()
    assert found[2].max() == 1


def _keras_twin() -> tuple[keras.Model, Model]:
    """The same residual network twice: convolutions with a ReLU of their own, and dense layers, as in VGG."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = pooled = keras.layers.MaxPooling2D(name="pool")(
        keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv_a")(inputs)
    )
    x = keras.layers.Conv2D(7, 3, padding="same", use_bias=False, name="conv_b")(x)
    x = keras.layers.BatchNormalization(name="bn_b")(x)
    x = keras.layers.ReLU(6.0, name="relu_b")(x)
    x = keras.layers.Conv2D(6, 1, name="conv_c")(x)
    x = keras.layers.Add(name="add")([pooled, x])
    x = keras.layers.Dense(9, activation="relu", name="fc1")(keras.layers.Flatten(name="flatten")(x))
    ours = (
        Conv(6, activation="relu", name="conv_a"),
        MaxPool(name="pool"),
        Conv(7, use_bias=False, name="conv_b"),
        BatchNorm(name="bn_b"),
        Activation("relu6", name="relu_b"),
        Conv(6, (1, 1), name="conv_c"),
        Add(inputs=("pool", "conv_c"), name="add"),
        Flatten(name="flatten"),
        Dense(9, "relu", name="fc1"),
        Dense(4, name="head"),
    )
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(x)), Model(ours, SIZE, "tf")


LEAVES = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}


def test_the_maps_are_those_of_kerass_gradients_at_any_layer_also_inside_of_a_residual_block(
    images: np.ndarray,
) -> None:
    twin, model = _keras_twin()
    rng = np.random.default_rng(4)
    variables: Variables = {"params": {}, "batch_stats": {}}
    for layer in twin.layers:
        for weight in layer.weights:
            vector = len(weight.shape) == 1  # variances are positive
            weight.assign(rng.uniform(0.1, 1, weight.shape) if vector else rng.normal(0, 0.4, weight.shape))
            name = LEAVES.get(weight.name, weight.name)
            collection = "batch_stats" if name in ("mean", "var") else "params"
            variables[collection].setdefault(layer.name, {})[name] = np.asarray(weight)
    classes, inputs = np.array([3, 0, 2]), tf.constant(images / 127.5 - 1, tf.float32)
    layers = ("conv_a", "pool", "relu_b", "conv_c", "add")
    taps = keras.Model(twin.input, [*(twin.get_layer(name).output for name in layers), twin.output])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        *outputs, logits = taps(inputs, training=False)
        score = tf.reduce_sum(tf.gather(logits, classes, batch_dims=1))
    np.testing.assert_allclose(model.logits(variables, jnp.asarray(images)), logits, rtol=1e-4, atol=1e-4)
    found = saliency.class_activation_maps(model, variables, images, classes, layers)
    for name, output in zip(layers, outputs, strict=True):
        values, gradients = (np.asarray(x, np.float64) for x in (output, tape.gradient(score, output)))
        for i in range(len(images)):
            np.testing.assert_allclose(
                found[name][0][i], _map("grad-cam", values[i], gradients[i]), rtol=1e-3, atol=1e-4
            )
            if (values >= 0).all():
                expected = _map("grad-cam++", values[i], gradients[i])
                np.testing.assert_allclose(found[name][1][i], expected, rtol=1e-3, atol=1e-4)


def test_occlusion_is_the_mean_fall_of_the_probability_where_the_square_lies(images: np.ndarray) -> None:
    model = replace(SMALL, image_size=(SIZE, 6))
    image, patch, stride, small = images[0][:, :6], 3, 2, _random_variables(model, 0)
    found = saliency.occlusion(model, small, image, [2, 0], patch, stride)
    drops, times = np.zeros((2, SIZE, 6)), np.zeros((SIZE, 6))
    probabilities = jax.jit(model.probabilities)
    whole = np.asarray(probabilities(small, jnp.asarray(image[None])))[0]
    for row in (0, 2, 4, 5):  # the last place ends with the image
        for column in (0, 2, 3):
            covered = image.copy()
            covered[row : row + patch, column : column + patch] = 128
            fall = whole - np.asarray(probabilities(small, jnp.asarray(covered[None])))[0]
            drops[:, row : row + patch, column : column + patch] += fall[[2, 0], None, None]
            times[row : row + patch, column : column + patch] += 1
    np.testing.assert_allclose(found, drops / times, rtol=1e-4, atol=1e-6)
    assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize(("patch", "stride"), [(0, 1), (9, 1), (3, 0)])
def test_an_impossible_square_is_an_error(small: Variables, images: np.ndarray, patch: int, stride: int) -> None:
    with pytest.raises(ConfigError, match="is not possible"):
        saliency.occlusion(SMALL, small, images[0], [0], patch, stride)


@pytest.mark.parametrize(
    ("config", "layer"),
    [
        (ModelConfig(name="simple_cnn", image_size=16), "relu2"),
        (ModelConfig(name="vgg16", image_size=32, top="fc"), "block5_conv3"),
        (ModelConfig(name="mobilenet", image_size=32), "conv_pw_13_relu"),
        (ModelConfig(name="mobilenet_v2", image_size=32), "out_relu"),
    ],
    ids=["simple_cnn", "vgg16", "mobilenet", "mobilenet_v2"],
)
def test_without_a_name_it_is_the_last_layer_with_rows_and_columns_that_does_not_pool(
    config: ModelConfig, layer: str
) -> None:
    assert saliency.default_layer(build(config, 2)) == layer


def test_without_a_name_a_network_as_pretrained_is_asked_for_its_last_layer_with_rows_and_columns() -> None:
    assert saliency.default_layer(build_imagenet(ModelConfig(name="mobilenet", image_size=32))) == "conv_pw_13_relu"


@pytest.mark.parametrize(
    ("layer", "message"),
    [("rely", "layer: there is no layer 'rely'; near names: relu"), ("head", "head has no rows.*the last .* is pool")],
)
def test_a_layer_that_has_no_map_is_an_error(small: Variables, images: np.ndarray, layer: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        saliency.grad_cam(SMALL, small, images, np.array([0, 0, 0]), layer)


def test_an_overlay_is_dark_where_nothing_is_and_bright_where_the_most_is_and_the_photograph_shows_through() -> None:
    ramp = np.linspace(0, 1, 4, dtype=np.float32)[None].repeat(4, 0)
    black = saliency.overlay(np.zeros((40, 40, 3), np.uint8), ramp)
    assert (black.shape, black.dtype) == ((40, 40, 3), np.uint8)
    luminance = black.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance, axis=1) >= -1).all()
    assert luminance[0, -1] > luminance[0, 0] + 80
    np.testing.assert_array_equal(black[0], black[39])
    photograph = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    over = saliency.overlay(photograph, np.zeros((4, 4)))
    grey = photograph.astype(float) @ [0.299, 0.587, 0.114]
    assert np.corrcoef(over.mean(-1).ravel(), grey.ravel())[0, 1] > 0.99


SIDE, CORNER = 24, 12


def _shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Discs, squares and triangles in one corner of noise: images, labels, and the row and column of the corner."""
    rng = np.random.default_rng(seed)
    labels, corners = np.arange(count) % 3, rng.integers(0, 2, (count, 2))
    centres = CORNER // 2 + CORNER * corners + rng.uniform(-0.5, 0.5, (count, 2))
    radius = rng.uniform(3.5, 5.5, (count, 1, 1))
    axis = np.arange(SIDE) + 0.5
    y, x = (axis - centres[:, :1])[:, :, None], (axis - centres[:, 1:])[:, None, :]
    disc, square = np.hypot(x, y) < radius, np.maximum(abs(x), abs(y)) < 0.85 * radius
    triangle = (abs(x) < (y + radius) / 2) & (y < 0.9 * radius)
    inside = np.stack([disc, square, triangle])[labels, np.arange(count)][..., None]
    noise, colour = rng.uniform(0, 120, (count, SIDE, SIDE, 3)), rng.uniform(150, 255, (count, 1, 1, 3))
    return np.where(inside, colour, noise).astype(np.uint8), labels, corners


@pytest.fixture(scope="module")
def looker() -> tuple[Model, Variables]:
    """A small network that has learned to tell the shapes apart."""
    body = simple_cnn.body(ModelConfig(name="simple_cnn", weights="none", image_size=SIDE, filters=(8, 16)))
    model = Model((*body, GlobalAveragePool(name="average"), Dense(3, name="head")), SIDE, "tf")
    images, labels, _ = map(jnp.asarray, _shapes(1200, seed=0))
    optimizer = optax.adam(1e-2)

    def loss(params: Variables, rows: jax.Array) -> jax.Array:
        logits = model.logits({"params": params, "batch_stats": {}}, images[rows])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    def step(carry: tuple[Variables, optax.OptState], rows: jax.Array) -> tuple[tuple[Variables, optax.OptState], None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    params = jax.tree.map(jnp.asarray, model.init(0)["params"])
    batches = np.random.default_rng(0).integers(0, len(images), (500, 32))
    (params, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, batches))((params, optimizer.init(params)))
    return model, {"params": params, "batch_stats": {}}


def _shares(maps: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The share of each map's mass that lies in its corner."""
    n, half = len(maps), maps.shape[1] // 2
    quarters = maps.reshape(n, 2, half, 2, half).sum((2, 4))
    return quarters[np.arange(n), corners[:, 0], corners[:, 1]] / quarters.sum((1, 2))


@pytest.mark.long
@pytest.mark.optimized
@pytest.mark.parametrize("method", METHODS)
def test_the_mass_of_a_map_lies_on_the_shape_in_the_corner(looker: tuple[Model, Variables], method: str) -> None:
    model, variables = looker
    images, labels, corners = _shapes(48, seed=1)
    logits = jax.jit(model.logits)(variables, images)
    assert (np.asarray(logits).argmax(-1) == labels).mean() > 0.9
    shares = _shares(METHODS[method](model, variables, images, labels), corners)
    assert shares.mean() > 0.8  # a quarter would be chance
    assert shares.min() > 0.5


@pytest.mark.long
@pytest.mark.optimized
def test_what_an_occluded_network_misses_lies_on_the_shape_in_the_corner(looker: tuple[Model, Variables]) -> None:
    images, labels, corners = _shapes(24, seed=2)
    drops = [saliency.occlusion(*looker, image, [label], 8, 4)[0] for image, label in zip(images, labels, strict=True)]
    shares = _shares(np.maximum(drops, 0), corners)
    assert shares.mean() > 0.7
    assert shares.min() > 0.4
