"""Chains whose layers name their inputs: branches, sums, cuts; what is computed together and what is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models.chain import Chain, sources
from cnn_jax.models.layers import IMAGES, Activation, Add, BatchNorm, Conv, Dense, DepthwiseConv, GlobalAveragePool
from cnn_jax.models.model import Model
from cnn_jax.models.summary import spatial_layers, summarise

BRANCHES = (
    Conv(4, use_bias=False, name="stem"),
    BatchNorm(name="bn"),
    Activation(name="relu"),
    GlobalAveragePool(keep_size=True, name="squeeze"),
    Conv(4, (1, 1), activation="sigmoid", name="excite"),
    Conv(4, (3, 3), use_bias=False, inputs=("relu",), name="left"),
    BatchNorm(name="left_bn"),
    Add(inputs=("left_bn", "excite", "relu"), name="sum"),
    Conv(3, (1, 1), inputs=(IMAGES,), name="images_conv"),
    Conv(4, (1, 1), name="widened"),
    Add(inputs=("sum", "widened"), name="end"),
    GlobalAveragePool(name="pool"),
    Dense(2, name="head"),
)


@pytest.fixture(scope="module")
def moved() -> tuple[Model, dict]:
    """The network, and variables away from their defaults."""
    model = Model(BRANCHES, 8, "tf")
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.uniform(0.2, 1, leaf.shape).astype(np.float32) - (0.5 if leaf.ndim > 1 else 0), model.shapes
    )
    return model, variables


def test_every_layer_takes_what_it_names(moved):
    model, variables = moved
    images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8))
    found = model.activations(variables, images, [str(layer.name) for layer in BRANCHES])
    found = {name: np.asarray(value, np.float64) for name, value in found.items()}
    kernels = {
        name: np.asarray(leaves["kernel"], np.float64)
        for name, leaves in variables["params"].items()
        if "kernel" in leaves
    }
    squeezed = found["relu"].mean((1, 2), keepdims=True)
    excited = 1 / (1 + np.exp(-(squeezed @ kernels["excite"][0, 0] + variables["params"]["excite"]["bias"])))
    np.testing.assert_allclose(found["excite"], excited, rtol=1e-5)
    np.testing.assert_allclose(found["sum"], found["left_bn"] + found["excite"] + found["relu"], rtol=1e-5, atol=1e-5)
    inputs = np.asarray(images) / 127.5 - 1
    from_images = inputs @ kernels["images_conv"][0, 0] + variables["params"]["images_conv"]["bias"]
    np.testing.assert_allclose(found["images_conv"], from_images, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["end"], found["sum"] + found["widened"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.logits(variables, images), found["head"], rtol=1e-4, atol=1e-5)


def test_it_can_be_cut_only_where_one_output_is_read_across():
    model = Model(BRANCHES, 8, "tf")
    legal = [i for i in range(len(BRANCHES) + 1) if model.cut_before(i) == i]
    assert [BRANCHES[i].name for i in legal[:-1]] == ["stem", "pool", "head"]  # the images are read to the end
    without_images = Model(BRANCHES[:8], 8, "tf")
    legal = [i for i in range(8) if without_images.cut_before(i) == i]
    assert [BRANCHES[i].name for i in legal] == ["stem", "bn", "relu", "squeeze"]


def test_a_normalisation_that_is_read_twice_is_not_rectified():
    layers = (BatchNorm(name="bn"), Activation(name="relu"), Activation("tanh", inputs=("bn",), name="tanh"))
    np.testing.assert_allclose(of_two(layers), np.tanh(-4), rtol=1e-6)


def test_a_convolution_that_is_read_twice_takes_no_factor():
    layers = (DepthwiseConv((1, 1), name="conv"), BatchNorm(name="bn"), Add(inputs=("bn", "conv"), name="sum"))
    np.testing.assert_allclose(of_two(layers), -4 - 2, rtol=1e-6)


def of_two(layers: tuple) -> np.ndarray:
    """What becomes of -2 where kernels are 1 and the normalisation multiplies by 2."""
    model = Model(layers, 1, None)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), model.shapes)
    variables["params"]["bn"]["bias"] *= 0
    variables["batch_stats"]["bn"] = {"mean": np.zeros(3, np.float32), "var": np.full(3, 0.25 - 1e-3, np.float32)}
    return np.asarray(model.outputs(variables, jnp.full((1, 1, 1, 3), -2.0)))


def test_a_layer_that_takes_what_comes_later_is_an_error_that_names_both():
    with pytest.raises(ValueError, match=r"sum takes a, later; the layers before it: \(images\), a"):
        sources((Conv(1, name="a"), Add(inputs=("a", "later"), name="sum"), Conv(1, name="later")))


def test_rows_and_columns_come_back_after_a_pooling_beside_the_maps():
    model = Model(BRANCHES, 8, "tf")
    pooled = {"squeeze", "excite", "pool", "head"}
    assert set(spatial_layers(model)) == {str(layer.name) for layer in BRANCHES} - pooled
    views = {layer.name: (layer.receptive_field, layer.stride) for layer in summarise(model, dict, 1).layers}
    assert views["left"] == (5, 1)
    assert views["sum"] == (None, 1)  # it sees the whole image through the squeeze
    assert views["excite"] == (None, None)


def test_a_part_takes_what_it_names_of_the_layer_before_it(moved):
    _, variables = moved
    images = jnp.zeros((1, 8, 8, 3), jnp.uint8)
    stem = Model(BRANCHES[:8], 8, "tf")
    features = stem.part(0, 3).outputs(variables, images)
    whole = stem.outputs(variables, images)
    np.testing.assert_allclose(stem.part(3).outputs(variables, features), whole, rtol=1e-5)
    assert isinstance(stem.part(3).chain, Chain)
