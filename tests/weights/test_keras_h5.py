"""Reading Keras' legacy HDF5 weights: every layout that files come in, and every way in which they are broken."""

import re
import warnings
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from cnn_jax.errors import WeightsError
from cnn_jax.weights.readers import keras_h5
from tests.weights.legacy import write_layers

Layers = dict[str, dict[str, np.ndarray]]
"""{layer: {weight name as in the file: array}}"""

RNG = np.random.default_rng(0)


def layers() -> Layers:
    def normal(*shape: int) -> np.ndarray:
        return RNG.normal(size=shape).astype(np.float32)

    return {
        "input_1": {},
        "conv1": {"conv1/kernel:0": normal(3, 3, 3, 4)},
        "conv1_bn": {
            "conv1_bn/gamma:0": normal(4),
            "conv1_bn/beta:0": normal(4),
            "conv1_bn/moving_mean:0": normal(4),
            "conv1_bn/moving_variance:0": normal(4) ** 2,
        },
        "conv_dw_1": {"conv_dw_1/depthwise_kernel:0": normal(3, 3, 4, 1)},
        "conv_preds": {"conv_preds/kernel:0": normal(1, 1, 4, 6), "conv_preds/bias:0": normal(6)},
    }


def write(path: Path, content: Layers, *, under: str | None = None, chunk: int | None = None, kind: Any = "S") -> Path:
    """Write `content`, in the group `under`, with `layer_names` split into attributes of `chunk` names."""
    with h5py.File(path, "w") as file:
        root = file if under is None else file.create_group(under)
        write_layers(root, content, chunk=chunk, kind=kind)
    return path


def expected(content: Layers) -> keras_h5.Leaves:
    bn = {name.rpartition("/")[2]: value for name, value in content["conv1_bn"].items()}
    params = {
        "conv1": {"kernel": content["conv1"]["conv1/kernel:0"]},
        "conv1_bn": {"scale": bn["gamma:0"], "bias": bn["beta:0"]},
        "conv_dw_1": {"kernel": content["conv_dw_1"]["conv_dw_1/depthwise_kernel:0"]},
    }
    if "conv_preds" in content:
        top = content["conv_preds"]
        params["conv_preds"] = {"kernel": top["conv_preds/kernel:0"], "bias": top["conv_preds/bias:0"]}
    return {
        "params": params,
        "batch_stats": {"conv1_bn": {"mean": bn["moving_mean:0"], "var": bn["moving_variance:0"]}},
    }


def assert_same(actual: keras_h5.Leaves, wanted: keras_h5.Leaves) -> None:
    assert {c: {k: set(v) for k, v in by_layer.items()} for c, by_layer in actual.items()} == {
        c: {k: set(v) for k, v in by_layer.items()} for c, by_layer in wanted.items()
    }
    for collection, by_layer in wanted.items():
        for layer, leaves in by_layer.items():
            for leaf, value in leaves.items():
                np.testing.assert_array_equal(actual[collection][layer][leaf], value, strict=True)


@pytest.mark.parametrize("under", [None, "model_weights"], ids=["weights", "whole_model"])
@pytest.mark.parametrize("chunk", [None, 2, 5], ids=["one_attribute", "chunks", "one_chunk"])
@pytest.mark.parametrize("kind", ["S", h5py.string_dtype()], ids=["bytes", "strings"])
def test_every_layout_reads_as_the_same_leaves(tmp_path, under, chunk, kind):
    content = layers()
    assert_same(
        keras_h5.read(write(tmp_path / "w.h5", content, under=under, chunk=chunk, kind=kind)), expected(content)
    )


def test_a_file_without_the_top_has_no_classifier(tmp_path):
    content = layers()
    del content["conv_preds"]
    assert_same(keras_h5.read(write(tmp_path / "w.h5", content)), expected(content))


def test_more_than_ten_chunks_are_read_in_the_order_of_their_numbers(tmp_path):
    content = {f"conv{i}": {f"conv{i}/kernel:0": np.full((1, 1, 1, 1), i, np.float32)} for i in range(25)}
    read = keras_h5.read(write(tmp_path / "w.h5", content, chunk=2))
    assert list(read["params"]) == list(content)


def test_weight_names_may_be_chunked_too(tmp_path):
    content = layers()
    path = write(tmp_path / "w.h5", content)
    with h5py.File(path, "a") as file:
        attributes = file["conv1_bn"].attrs
        names = attributes["weight_names"]
        del attributes["weight_names"]
        attributes["weight_names0"], attributes["weight_names1"] = names[:3], names[3:]
    assert_same(keras_h5.read(path), expected(content))


def test_the_vgg_names_of_2016_are_read(tmp_path):
    kernel, bias, dense = np.ones((3, 3, 3, 2), np.float32), np.zeros(2, np.float32), np.ones((4, 5), np.float32)
    content = {
        "block1_conv1": {"block1_conv1_W_1:0": kernel, "block1_conv1_b_1:0": bias},
        "fc1": {"fc1_W_1:0": dense},
    }
    read = keras_h5.read(write(tmp_path / "vgg.h5", content))
    wanted = {"block1_conv1": {"kernel": kernel, "bias": bias}, "fc1": {"kernel": dense}}
    assert_same(read, {"params": wanted, "batch_stats": {}})


def test_numbered_scopes_are_read_by_their_last_part(tmp_path):
    kernel = np.ones((3, 3, 3, 2), np.float32)
    read = keras_h5.read(write(tmp_path / "w.h5", {"conv1": {"conv1_3/kernel:0": kernel}}))
    assert_same(read, {"params": {"conv1": {"kernel": kernel}}, "batch_stats": {}})


@pytest.mark.parametrize(
    ("file", "top", "width"), [("mobilenet_2_5_224_tf_no_top.h5", False, 0.25), ("mobilenet_7_5_224_tf.h5", True, 0.75)]
)
def test_the_real_files_are_read_in_full(real_weights, file, top, width):
    read = keras_h5.read(real_weights / file)
    total = sum(a.size for c in read.values() for leaves in c.values() for a in leaves.values())
    assert total == {0.25: 218_544, 0.75: 2_601_976}[width]
    assert ("conv_preds" in read["params"]) == top
    assert read["params"]["conv_dw_1"]["kernel"].shape == (3, 3, int(32 * width), 1)
    assert set(read["batch_stats"]["conv_pw_13_bn"]) == {"mean", "var"}


def test_the_layers_of_a_model_inside_the_model_come_by_their_own_names(tmp_path):
    content = layers()
    dense = np.ones((4, 2), np.float32)
    nested = {
        "body": {name: value for weights in content.values() for name, value in weights.items()},
        "dense": {"sequential/dense/kernel:0": dense},
    }
    read = keras_h5.read(write(tmp_path / "w.h5", nested))
    wanted = expected(content)
    wanted["params"]["dense"] = {"kernel": dense}
    assert_same(read, wanted)


@pytest.mark.parametrize("under", [None, "model_weights"], ids=["weights", "whole_model"])
def test_float16_is_widened_exactly(tmp_path, under):
    half = {name: {key: value.astype(np.float16) for key, value in arrays.items()} for name, arrays in layers().items()}
    wide = {name: {key: value.astype(np.float32) for key, value in arrays.items()} for name, arrays in half.items()}
    assert_same(keras_h5.read(write(tmp_path / "w.h5", half, under=under)), expected(wide))


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("suffix", ["h5", "keras", "weights.h5"])
def test_half_precision_files_of_keras(policy, suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = keras.Sequential([keras.layers.Input((4, 4, 3)), keras.layers.Conv2D(2, 3, name="conv", dtype=policy)])
        model.save_weights(path) if suffix == "weights.h5" else model.save(path)
    if policy == "bfloat16":
        with pytest.raises(WeightsError, match="under the policy float32, load these weights into it, and save"):
            keras_h5.read(path)
        return
    kernel = keras_h5.read(path)["params"]["conv"]["kernel"]
    np.testing.assert_array_equal(
        kernel, np.asarray(model.get_layer("conv").get_weights()[0]).astype(np.float32), strict=True
    )


def save_today(path: Path) -> keras.Model:
    """Save a new model as Keras does by itself today."""
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.DepthwiseConv2D(3, use_bias=False, name="dw"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(2, name="dense"),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TensorFlow's arrays under NumPy 2
        model.save(path)
    return model


def test_a_model_saved_by_keras_today_is_read(tmp_path):
    model = save_today(tmp_path / "model.h5")
    read = keras_h5.read(tmp_path / "model.h5")
    for layer, leaf, weight in (("conv", "kernel", 0), ("conv", "bias", 1), ("bn", "scale", 0), ("dense", "kernel", 0)):
        np.testing.assert_array_equal(read["params"][layer][leaf], model.get_layer(layer).get_weights()[weight])
    np.testing.assert_array_equal(read["batch_stats"]["bn"]["var"], model.get_layer("bn").get_weights()[3])


def test_a_depthwise_kernel_saved_by_keras_today_is_a_kernel_like_the_published_ones(tmp_path):
    save_today(tmp_path / "model.h5")
    assert keras_h5.read(tmp_path / "model.h5")["params"]["dw"]["kernel"].shape == (3, 3, 4, 1)


def assert_refused(path: Path, *mentions: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(str(path))) as error:
        keras_h5.read(path)
    for mention in mentions:
        assert mention in str(error.value)


def test_a_missing_file_is_an_error(tmp_path):
    assert_refused(tmp_path / "none.h5", "no file")


def test_a_folder_is_an_error(tmp_path):
    assert_refused(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>\n", b"\x89HDF\r\n\x1a\n"], ids=["empty", "text", "signature"]
)
def test_a_file_that_is_not_hdf5_is_an_error(tmp_path, content):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    assert_refused(path, "truncated")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_an_error(tmp_path, share):
    path = write(tmp_path / "w.h5", layers())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert_refused(path, "truncated")


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_truncated_real_file_is_an_error(tmp_path, real_weights, share):
    whole = (real_weights / "mobilenet_2_5_224_tf_no_top.h5").read_bytes()
    path = tmp_path / "mobilenet_2_5_224_tf_no_top.h5"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert_refused(path, "truncated")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", ["conv1/kernel:0", "conv1_bn/moving_variance:0"])
def test_a_value_that_is_not_finite_is_an_error_that_names_the_weight(tmp_path, value, weight):
    content = layers()
    content[weight.partition("/")[0]][weight].flat[1] = value
    assert_refused(write(tmp_path / "w.h5", content), weight, "not finite")


def test_integers_are_an_error(tmp_path):
    content = layers()
    content["conv1"]["conv1/kernel:0"] = np.ones((3, 3, 3, 4), np.int32)
    assert_refused(write(tmp_path / "w.h5", content), "conv1/kernel:0")


def test_hdf5_without_layer_names_is_an_error(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.ones(3)
    assert_refused(path, "layer_names")


@pytest.mark.parametrize("name", ["conv1/quantised_kernel:0", "conv1/W:0", "block9_W_1:0"])
def test_a_weight_with_an_unknown_name_is_an_error_that_names_it(tmp_path, name):
    content = {"conv1": {name: np.ones((1, 1, 1, 1), np.float32)}}
    assert_refused(write(tmp_path / "w.h5", content), name)


def test_a_layer_that_is_listed_but_absent_is_an_error(tmp_path):
    path = write(tmp_path / "w.h5", layers())
    with h5py.File(path, "a") as file:
        del file["conv1"]
    assert_refused(path)


def test_a_weight_that_is_listed_but_absent_is_an_error(tmp_path):
    path = write(tmp_path / "w.h5", layers())
    with h5py.File(path, "a") as file:
        del file["conv1_bn/conv1_bn/gamma:0"]
    assert_refused(path)


def test_two_weights_for_one_leaf_are_an_error(tmp_path):
    kernel = np.ones((1, 1, 1, 1), np.float32)
    content = {"conv1": {"conv1/kernel:0": kernel, "conv1_1/kernel:0": kernel}}
    assert_refused(write(tmp_path / "w.h5", content), "two weights")
