"""Merging loaded weights: everything is accounted for by name, shape and dtype, or nothing is loaded."""

import copy
from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import WeightsError
from cnn_jax.models.building import build
from cnn_jax.models.chain import depthwise_layers
from cnn_jax.models.model import Model
from cnn_jax.weights.readers import keras_h5
from cnn_jax.weights.transfer import Transfer, merge

Tree = dict[str, Any]


def tree(fill: float) -> Tree:
    def full(*shape: int) -> np.ndarray:
        return np.full(shape, fill, np.float32)

    return {
        "params": {
            "conv1": {"kernel": full(3, 3, 3, 4)},
            "conv1_bn": {"scale": full(4), "bias": full(4)},
            "head": {"kernel": full(4, 2), "bias": full(2)},
        },
        "batch_stats": {"conv1_bn": {"mean": full(4), "var": full(4)}},
    }


ALL = (
    "batch_stats/conv1_bn/mean",
    "batch_stats/conv1_bn/var",
    "params/conv1/kernel",
    "params/conv1_bn/bias",
    "params/conv1_bn/scale",
    "params/head/bias",
    "params/head/kernel",
)
BODY, HEAD = ALL[:5], ALL[5:]


def flatten(variables: Tree) -> dict[str, np.ndarray]:
    return {
        f"{c}/{layer}/{k}": v for c, ls in variables.items() for layer, leaves in ls.items() for k, v in leaves.items()
    }


def merged(
    variables: Tree,
    loaded: Tree,
    *,
    new: tuple[str, ...] = (),
    replaced: tuple[str, ...] = (),
    depthwise: tuple[str, ...] = (),
) -> tuple[Tree, Transfer]:
    return merge(
        variables, loaded, new_layers=new, replaced_layers=replaced, depthwise_layers=depthwise, source="some.h5"
    )


def test_a_depthwise_kernel_with_a_multiplier_keeps_its_channel_order():
    stored = np.arange(2 * 2 * 3 * 2, dtype=np.float32).reshape(2, 2, 3, 2)
    wanted = {"params": {"dw": {"kernel": np.zeros((2, 2, 1, 6), np.float32)}}}
    variables, _ = merged(wanted, {"params": {"dw": {"kernel": stored}}}, depthwise=("dw",))
    for c in range(3):
        for m in range(2):
            np.testing.assert_array_equal(variables["params"]["dw"]["kernel"][:, :, 0, 2 * c + m], stored[:, :, c, m])


def test_only_depthwise_layers_are_reshaped():
    stored = np.zeros((3, 3, 4, 1), np.float32)
    wanted = {"params": {"conv": {"kernel": np.zeros((3, 3, 1, 4), np.float32)}}}
    assert list(refused(wanted, {"params": {"conv": {"kernel": stored}}})) == ["different"]


def refused(variables: Tree, loaded: Tree, **layers: tuple[str, ...]) -> dict[str, list[str]]:
    """The error's lines by title, after checking that neither tree was touched."""
    before = copy.deepcopy((variables, loaded))
    with pytest.raises(WeightsError, match=r"^some\.h5 does not fit the model; nothing was loaded") as error:
        merged(variables, loaded, **layers)
    jax.tree.map(np.testing.assert_array_equal, (variables, loaded), before)
    sections: dict[str, list[str]] = {}
    rows: list[str] = []
    for line in str(error.value).splitlines()[1:]:
        if line.startswith("    "):
            rows.append(line.strip())
        else:
            rows = sections.setdefault(line.strip().partition(" (")[0], [])
    return sections


def test_a_file_that_fits_replaces_every_leaf():
    variables, report = merged(tree(0), tree(1))
    assert jax.tree.structure(variables) == jax.tree.structure(tree(0))
    for value in flatten(variables).values():
        np.testing.assert_array_equal(value, 1)
    assert report == Transfer("some.h5", loaded=ALL, initialised=(), ignored=())


def test_the_given_variables_are_not_changed():
    variables, loaded = tree(0), tree(1)
    merged(variables, loaded)
    jax.tree.map(np.testing.assert_array_equal, (variables, loaded), (tree(0), tree(1)))


def test_shapes_alone_are_enough_to_merge_into():
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree(0))
    variables, _ = merged(shapes, tree(1))
    jax.tree.map(np.testing.assert_array_equal, variables, tree(1))


def test_missing_leaves_are_listed_and_nothing_else():
    loaded = tree(1)
    del loaded["params"]["conv1"], loaded["batch_stats"]["conv1_bn"]["var"]
    assert refused(tree(0), loaded) == {"missing in the file": ["batch_stats/conv1_bn/var", "params/conv1/kernel"]}


def test_left_over_leaves_are_listed_and_nothing_else():
    loaded = tree(1)
    loaded["params"]["conv2"] = {"kernel": np.ones(3, np.float32)}
    loaded["params"]["conv1"]["bias"] = np.ones(4, np.float32)
    assert refused(tree(0), loaded) == {"left over in the file": ["params/conv1/bias", "params/conv2/kernel"]}


def test_a_wrong_shape_is_listed_with_both_shapes():
    loaded = tree(1)
    loaded["params"]["conv1"]["kernel"] = np.ones((3, 3, 4, 3), np.float32)
    assert refused(tree(0), loaded) == {
        "different": ["params/conv1/kernel: the model has float32[3, 3, 3, 4], the file float32[3, 3, 4, 3]"]
    }


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_wrong_dtype_is_listed_with_both_dtypes(dtype):
    loaded = tree(1)
    loaded["params"]["conv1_bn"]["scale"] = np.ones(4, dtype)
    assert refused(tree(0), loaded) == {
        "different": [f"params/conv1_bn/scale: the model has float32[4], the file {dtype}[4]"]
    }


def test_all_kinds_of_misfit_are_reported_at_once():
    loaded = tree(1)
    del loaded["params"]["head"]["bias"]
    loaded["params"]["extra"] = {"kernel": np.ones(1, np.float32)}
    loaded["params"]["conv1_bn"]["bias"] = np.ones(5, np.float32)
    sections = refused(tree(0), loaded)
    assert set(sections) == {"missing in the file", "left over in the file", "different"}
    assert [len(rows) for rows in sections.values()] == [1, 1, 1]


def test_a_long_list_is_cut_and_counts_the_rest():
    loaded = tree(1)
    loaded["params"] |= {f"extra{i:02d}": {"kernel": np.ones(1, np.float32)} for i in range(15)}
    rows = refused(tree(0), loaded)["left over in the file"]
    assert rows[:12] == [f"params/extra{i:02d}/kernel" for i in range(12)]
    assert rows[12:] == ["… and 3 more"]


def test_a_new_layer_that_the_file_lacks_stays_as_initialised_and_is_named():
    loaded = tree(1)
    del loaded["params"]["head"]
    variables, report = merged(tree(0), loaded, new=("head",))
    values = flatten(variables)
    assert {path for path, value in values.items() if (value == 0).all()} == set(HEAD)
    assert {path for path, value in values.items() if (value == 1).all()} == set(BODY)
    assert (report.loaded, report.initialised) == (BODY, HEAD)


def with_classifier(**layers: tuple[int, ...]) -> Tree:
    """A file with the body of `tree`, all ones, and these layers with kernels of such shapes in place of its head."""
    loaded = tree(1)
    del loaded["params"]["head"]
    for layer, shape in layers.items():
        loaded["params"][layer] = {"kernel": np.ones(shape, np.float32), "bias": np.ones(shape[-1], np.float32)}
    return loaded


FITTING = tree(0)["params"]["head"]["kernel"].shape


@pytest.mark.parametrize(
    ("layer", "shape"),
    [("head", FITTING), ("dense", FITTING), ("predictions", FITTING), ("conv_preds", (1, 1, *FITTING))],
)
def test_the_only_classifier_of_the_file_becomes_the_head_where_it_fits_and_is_named(layer, shape):
    variables, report = merged(tree(0), with_classifier(**{layer: shape}), new=("head",), replaced=("conv_preds",))
    jax.tree.map(np.testing.assert_array_equal, variables, tree(1))
    assert report == Transfer("some.h5", loaded=ALL, initialised=(), ignored=(), classifier=layer)


@pytest.mark.parametrize(
    "layers",
    [
        {"conv_preds": (1, 1, FITTING[0], FITTING[1] + 1)},
        {"dense": (FITTING[0], FITTING[1] + 1)},
        {"head": (FITTING[0] + 1, FITTING[1])},
        {"dense": (FITTING[0], FITTING[0]), "dense_1": FITTING},
    ],
    ids=["1x1_convolution", "other_classes", "other_features", "two_dense_layers"],
)
def test_a_classifier_that_does_not_fit_is_left_out_and_named(layers):
    variables, report = merged(tree(0), with_classifier(**layers), new=("head",), replaced=("conv_preds",))
    assert set(variables["params"]) == set(tree(0)["params"])
    ignored = tuple(sorted(f"params/{layer}/{leaf}" for layer in layers for leaf in ("bias", "kernel")))
    assert report == Transfer("some.h5", loaded=BODY, initialised=HEAD, ignored=ignored)


@pytest.mark.parametrize("leaf", ["kernel", "scale"])
def test_a_layer_that_is_no_classifier_is_left_over_even_where_the_head_is_new(leaf):
    loaded = with_classifier()
    loaded["params"]["other"] = {leaf: np.ones((3, 3, 4, 4) if leaf == "kernel" else 4, np.float32)}
    assert refused(tree(0), loaded, new=("head",)) == {"left over in the file": [f"params/other/{leaf}"]}


def test_replaced_layers_need_not_be_in_the_file():
    loaded = tree(1)
    del loaded["params"]["head"]
    _, report = merged(tree(0), loaded, new=("head",), replaced=("conv_preds",))
    assert report.ignored == ()


def test_a_classifier_that_nothing_replaces_is_left_over():
    loaded = tree(1)
    loaded["params"]["conv_preds"] = {"kernel": np.ones(1, np.float32)}
    assert refused(tree(0), loaded) == {"left over in the file": ["params/conv_preds/kernel"]}


def mobilenet(alpha: float) -> tuple[Model, Tree]:
    """The model and variables of its shapes, all of them random."""
    model, rng = build(ModelConfig(alpha=alpha, image_size=32), classes=3), np.random.default_rng(0)
    shapes = model.shapes
    return model, jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def test_weights_of_half_width_in_a_quarter_width_model_are_an_error():
    model, variables = mobilenet(0.25)
    _, wide = mobilenet(0.5)
    del wide["params"]["head"]
    sections = refused(variables, wide, new=model.new_layers, replaced=model.replaced_layers)
    assert set(sections) == {"different"}
    assert len(sections["different"]) == 13
    assert sections["different"][-1].startswith("… and ")


def roles(model: Model) -> dict[str, tuple[str, ...]]:
    return {
        "new": model.new_layers,
        "replaced": model.replaced_layers,
        "depthwise": tuple(depthwise_layers(model.layers)),
    }


def test_a_real_file_without_top_fills_all_but_the_head(real_weights):
    path = real_weights / "mobilenet_2_5_224_tf_no_top.h5"
    model, variables = mobilenet(0.25)
    loaded = keras_h5.read(path)
    result, report = merged(variables, loaded, **roles(model))
    assert (report.initialised, report.ignored) == (HEAD, ())
    values = flatten(result)
    assert set(report.loaded) == set(values) - set(HEAD)
    for path, value in flatten(loaded).items():
        np.testing.assert_array_equal(values[path].ravel(), value.ravel())


def test_a_real_file_with_top_fills_all_but_the_head_and_its_classifier_is_named(real_weights):
    model, variables = mobilenet(0.75)
    loaded = keras_h5.read(real_weights / "mobilenet_7_5_224_tf.h5")
    result, report = merged(variables, loaded, **roles(model))
    assert report.initialised == HEAD
    assert report.ignored == ("params/conv_preds/bias", "params/conv_preds/kernel")
    for leaf in ("kernel", "bias"):
        np.testing.assert_array_equal(result["params"]["head"][leaf], variables["params"]["head"][leaf])


def test_a_real_file_of_another_width_is_an_error(real_weights):
    model, variables = mobilenet(0.25)
    loaded = keras_h5.read(real_weights / "mobilenet_7_5_224_tf.h5")
    assert set(refused(variables, loaded, **roles(model))) == {"different"}


def with_hidden(fill: float, names: tuple[str, str, str], widths: tuple[int, int] = (5, 2)) -> Tree:
    """`tree` with a hidden layer, a batch norm and a classifier of these names and widths."""
    variables, (hidden, norm, last), (width, classes) = tree(fill), names, widths
    del variables["params"]["head"]
    shapes = {hidden: (4, width), last: (width, classes)}
    variables["params"] |= {
        name: {"kernel": np.full(shape, fill, np.float32), "bias": np.full(shape[1:], fill, np.float32)}
        for name, shape in shapes.items()
    }
    full = np.full(width, fill, np.float32)
    variables["params"][norm] = {"scale": full, "bias": full}
    variables["batch_stats"][norm] = {"mean": full, "var": full}
    return variables


NEW = ("dense1", "dense1_bn", "head")
HIDDEN = {f"params/dense1/{leaf}" for leaf in ("kernel", "bias")} | {
    path for path in flatten(with_hidden(0, NEW)) if "/dense1_bn/" in path
}


@pytest.mark.parametrize("names", [NEW, ("dense", "batch_normalization", "dense_1")])
def test_a_whole_head_with_hidden_layers_is_taken_whatever_its_layers_are_called(names: tuple[str, str, str]) -> None:
    variables, report = merged(with_hidden(0, NEW), with_hidden(1, names), new=NEW)
    assert all((value == 1).all() for value in flatten(variables).values())
    assert (report.classifier, report.initialised, report.ignored) == (names[2], (), ())


def test_of_a_head_for_other_classes_the_hidden_layers_are_taken() -> None:
    variables, report = merged(with_hidden(0, NEW), with_hidden(1, NEW, (5, 3)), new=NEW)
    assert set(report.initialised) == set(HEAD)
    assert set(report.ignored) == set(HEAD)
    assert report.loaded == tuple(sorted({*BODY, *HIDDEN}))
    assert (variables["params"]["head"]["kernel"] == 0).all()


def test_of_a_head_of_another_width_nothing_is_taken() -> None:
    loaded = with_hidden(1, NEW, (6, 2))
    report = merged(with_hidden(0, NEW), loaded, new=NEW, replaced=NEW)[1]
    assert report.loaded == BODY
    assert (set(report.initialised), report.classifier) == ({*HIDDEN, *HEAD}, None)
    assert merged(tree(0), loaded, new=("head",), replaced=NEW)[1].initialised == HEAD


def test_a_classifier_behind_a_hidden_layer_of_the_file_is_not_taken_without_that_layer() -> None:
    loaded = with_hidden(1, ("dense", "norm", "dense_1"), (4, 2))
    del loaded["params"]["norm"], loaded["batch_stats"]["norm"]
    assert merged(tree(0), loaded, new=("head",))[1].initialised == HEAD
