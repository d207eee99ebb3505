"""Frozen is frozen: bit-identical, without gradient, without optimizer memory, without a backward pass."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.config import ModelConfig, OptimizerConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models.building import build
from cnn_jax.models.chain import Variables, layer_names
from cnn_jax.models.head import HEAD
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing, count, digest, merge
from cnn_jax.training.optimizer import make_optimizer
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.schedule import make_schedule
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import StepOptions, make_train_step
from tests.training.helpers import SMALL_FROZEN, final_state, train, with_


@pytest.fixture(scope="module")
def model() -> Model:
    return build(ModelConfig(name="mobilenet", alpha=0.25, image_size=32, weights="none"), 10)


BATCH = (np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8), np.arange(4, dtype=np.int32))


EVERYTHING_ON = OptimizerConfig(
    name="adamw", learning_rate=0.1, weight_decay=0.5, clip_norm=1.0, layer_decay=0.9, head_learning_rate_multiplier=2.0
)


def _settings() -> Settings:
    """New ones: a step consumes them with its state."""
    return Settings.of(0, make_schedule(EVERYTHING_ON, 10, 1))


def _optimizer(model: Model) -> optax.GradientTransformation:
    """Decay, clipping and learning rates by layer; the step logs the gradient's norm in any case."""
    params = model.shapes["params"]
    order = {name: params.get(name, {}) for name in layer_names(model.layers)}
    return make_optimizer(EVERYTHING_ON, order)


PLAIN = StepOptions()


def _enlarged(path: tuple[Any, ...], leaf: np.ndarray) -> np.ndarray:
    """Larger kernels, so that the statistics of an untrained network let a gradient through to every layer."""
    return leaf * 3 if path[-1].key == "kernel" else leaf


def _after_steps(
    model: Model,
    freezing: Freezing,
    optimizer: optax.GradientTransformation,
    steps: int,
    options: StepOptions = PLAIN,
):
    variables = jax.tree.map_with_path(_enlarged, model.init(0))
    before = jax.tree.map(np.array, variables)
    state = TrainState.create(variables, optimizer, freezing, _settings(), options.ema_decay is not None)
    step = make_train_step(model, optimizer, freezing, Mesh.create(), options)
    for _ in range(steps):
        state, _ = step(state, *BATCH)
    return before, state


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "until",
    ["conv_pw_13", "conv_dw_6", *(pytest.param(name, marks=pytest.mark.slow) for name in ("conv_pw_10", "head"))],
)
def test_frozen_leaves_and_statistics_stay_bit_identical_and_the_others_move(model: Model, until: str) -> None:
    freezing = Freezing.until(model, until)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1, weight_decay=0.5))
    before, state = _after_steps(model, freezing, optimizer, 3)
    names = [layer.name for layer in model.layers]
    for collection, after in (("params", state.params), ("batch_stats", state.batch_stats)):
        for layer, leaves in before[collection].items():
            for leaf, array in leaves.items():
                same = np.array_equal(array, after[layer][leaf])
                assert same == (names.index(layer) < names.index(until)), f"{collection}/{layer}/{leaf}"
    assert freezing.digest(state.variables) == freezing.digest(before)


def test_the_optimizer_holds_two_moments_of_the_trainable_parameters_and_nothing_of_the_frozen(model: Model) -> None:
    freezing = Freezing.until(model, "head")
    state = TrainState.create(model.init(0), optax.adam(1e-3), freezing, _settings())
    head = 256 * 10 + 10
    assert count(freezing.split(state.params)[0]) == head
    assert count(state.opt_state) == 2 * head + 1  # and the number of steps


@pytest.mark.long
def test_flops_and_memory_of_a_step_fall_as_the_freeze_point_moves_down_the_chain(model: Model) -> None:
    """With clipping, decay, the gradient's norm and running means: nothing of it may reach for what is frozen."""
    flops, kept = [], []
    variables, optimizer = model.shapes, _optimizer(model)
    for until in ("none", "conv_pw_10", "head"):
        freezing = Freezing.until(model, until)
        state = jax.eval_shape(lambda v, f=freezing: TrainState.create(v, optimizer, f, _settings(), True), variables)
        step = make_train_step(model, optimizer, freezing, Mesh.create(), StepOptions(ema_decay=0.99))
        flops.append(step.lower(state, *BATCH).cost_analysis()["flops"])
        trainable = count(freezing.split(variables["params"])[0])
        kept.append(count([leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape]))
        assert kept[-1] == 2 * trainable
        moving = count(freezing.split_statistics(variables["batch_stats"])[0])
        assert count(state.average) == trainable + moving
    for numbers in (flops, kept):
        assert numbers == sorted(set(numbers), reverse=True)
    assert flops[-1] < 0.5 * flops[0]


def test_a_frozen_gradient_cannot_scale_the_update_by_clipping(model: Model) -> None:
    """The trainable update under clipping is the one of a step that knows no frozen parameters."""
    freezing = Freezing.until(model, "head")
    before, state = _after_steps(model, freezing, optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0)), 1)
    moved = [np.asarray(state.params["head"][leaf]) - before["params"]["head"][leaf] for leaf in ("kernel", "bias")]
    norm = np.sqrt(sum(float((change.astype(np.float64) ** 2).sum()) for change in moved))
    np.testing.assert_allclose(norm, 1e-3, rtol=1e-3)


@pytest.mark.long
def test_a_whole_run_proves_that_the_frozen_part_is_unchanged(tmp_path: Path) -> None:
    result = train(SMALL_FROZEN, tmp_path / "run").result
    assert result["frozen_unchanged"] is True
    assert result["parameters"]["frozen"] > 0
    trained = final_state(SMALL_FROZEN, tmp_path / "run")
    untrained = with_(SMALL_FROZEN, train={"freeze_until": "head"})
    train(untrained, tmp_path / "head")
    other = final_state(untrained, tmp_path / "head")
    frozen = [path for path in trained if ("conv2'" in path or "bn2'" in path) and "opt_state" not in path]
    assert len(frozen) == 5
    for path in frozen:
        np.testing.assert_array_equal(trained[path], other[path])


def test_the_digest_sees_any_change() -> None:
    tree = {"a": {"kernel": np.zeros((2, 3), np.float32)}}
    changed = {"a": {"kernel": np.zeros((2, 3), np.float32)}}
    changed["a"]["kernel"][1, 2] = np.float32(1e-45)
    renamed = {"b": tree["a"]}
    reshaped = {"a": {"kernel": np.zeros((3, 2), np.float32)}}
    assert len({digest(t) for t in (tree, changed, renamed, reshaped)}) == 4
    assert digest(tree) == digest({"a": {"kernel": np.zeros((2, 3), np.float32)}})


@pytest.fixture(scope="module")
def variables(model: Model) -> Variables:
    """Shapes alone."""
    return model.shapes


NOTHING = Freezing(frozenset())


def test_patterns_match_whole_paths(variables: Variables) -> None:
    assert NOTHING.matching(["conv1/kernel"], variables).leaves == {"conv1/kernel"}
    assert NOTHING.matching([r"conv_(dw|pw)_1/.*"], variables).leaves == {"conv_dw_1/kernel", "conv_pw_1/kernel"}
    assert NOTHING.matching(["head/bias", "conv1/.*"], variables).leaves == {"head/bias", "conv1/kernel"}
    assert NOTHING.matching([], variables) == NOTHING
    for part in ("conv1", "kernel", "conv1/kerne", "onv1/kernel", "conv_pw_1/"):
        with pytest.raises(ConfigError, match="matches no parameter or statistic"):
            NOTHING.matching([part], variables)


def test_a_pattern_without_a_match_names_the_near_paths_in_one_line(variables: Variables) -> None:
    with pytest.raises(ConfigError) as error:
        NOTHING.matching(["head/bias", "conv_dw_3/kernle"], variables)
    message = str(error.value)
    assert message.startswith("train.frozen: 'conv_dw_3/kernle' matches no parameter or statistic; near ones: ")
    assert "conv_dw_3/kernel" in message
    assert "\n" not in message
    with pytest.raises(ConfigError, match=r"train\.frozen: '~~~' .* near ones: \w+/\w+, "):
        NOTHING.matching(["~~~"], variables)


def test_a_pattern_that_is_no_regular_expression_is_an_error(variables: Variables) -> None:
    with pytest.raises(ConfigError, match=r"^train\.frozen: '\*_bn/scale' is no regular expression: nothing to repeat"):
        NOTHING.matching(["*_bn/scale"], variables)


def test_which_batch_norms_keep_their_statistics(variables: Variables) -> None:
    every = {name for name in variables["params"] if name.endswith("_bn")}
    whole = NOTHING.matching([".*_bn/.*"], variables)
    assert (whole.kept_statistics, len(whole.leaves)) == (every, 2 * len(every))
    assert NOTHING.matching(["conv1_bn/(scale|bias)"], variables).kept_statistics == {"conv1_bn"}
    assert NOTHING.matching(["conv1_bn/scale", "conv1_bn/bias"], variables).kept_statistics == {"conv1_bn"}
    assert NOTHING.matching(["conv1_bn/bias"], variables).kept_statistics == frozenset()
    statistics = NOTHING.matching([".*_bn/(mean|var)"], variables)
    assert (statistics.kept_statistics, statistics.leaves) == (every, frozenset())
    assert NOTHING.matching(["conv1_bn/mean"], variables).kept_statistics == {"conv1_bn"}


PATTERNS = (
    "conv_pw_12/kernel",
    "conv_pw_12_bn/bias",
    "conv_dw_13_bn/(mean|var)",
    "conv_pw_13_bn/(scale|bias)",
    "head/bias",
)


@pytest.mark.long
def test_leaves_frozen_by_patterns_stay_bit_identical_and_the_others_move(model: Model, variables: Variables) -> None:
    until = Freezing.until(model, "conv_pw_10")  # later, what the random frozen layers let through is too faint
    freezing = until.matching(PATTERNS, variables)
    before, state = _after_steps(model, freezing, _optimizer(model), 3, StepOptions(ema_decay=0.9))
    kept_statistics = ("conv_dw_13_bn", "conv_pw_13_bn")
    kept = {("params", *path.split("/")) for path in freezing.leaves}
    kept |= {("batch_stats", layer, leaf) for layer in kept_statistics for leaf in ("mean", "var")}
    kept |= {
        (key, n, leaf) for key, layers in before.items() for n in layers if n in until.layers for leaf in layers[n]
    }
    assert len(freezing.leaves) == 5
    for after in (state.variables, state.evaluated):
        same = {
            (key, layer, leaf)
            for key, layers in before.items()
            for layer, leaves in layers.items()
            for leaf, array in leaves.items()
            if np.array_equal(array, after[key][layer][leaf])
        }
        assert same == kept
        assert freezing.digest(after) == freezing.digest(before)


def _position(model: Model, layer: str) -> int:
    return layer_names(model.layers).index(layer)


def test_the_prefix_ends_where_something_trains_or_depends_on_chance(model: Model, variables: Variables) -> None:
    until = Freezing.until(model, "conv_pw_10")
    assert NOTHING.prefix(model) == 0
    assert until.prefix(model) == _position(model, "conv_pw_10")
    assert until.matching(["conv_pw_10/kernel"], variables).prefix(model) == _position(model, "conv_pw_10_bn")
    by_leaf = until.matching(["conv_pw_10(_bn)?/(kernel|scale|bias)"], variables)
    assert by_leaf.prefix(model) == _position(model, "conv_dw_11")
    kept_only = until.matching(["conv_pw_10/kernel", "conv_pw_10_bn/(mean|var)"], variables)
    assert kept_only.prefix(model) == _position(model, "conv_pw_10_bn")


@pytest.mark.parametrize(("rate", "layer"), [(0.5, "dropout"), (0.0, HEAD)])
def test_an_active_dropout_ends_the_prefix_of_the_head(rate: float, layer: str) -> None:
    model = build(ModelConfig(name="mobilenet", alpha=0.25, image_size=32, weights="none", dropout=rate), 10)
    assert Freezing.until(model, HEAD).prefix(model) == _position(model, layer)


NAMES = st.sampled_from(["conv1", "conv1_bn", "conv2", "conv2_bn", HEAD])
LEAVES = st.dictionaries(st.sampled_from(["kernel", "scale", "bias"]), st.integers(), min_size=1)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(NAMES, LEAVES),
    st.frozensets(NAMES),
    st.frozensets(st.builds("{}/{}".format, NAMES, st.sampled_from(["kernel", "scale", "bias"]))),
    st.frozensets(NAMES),
)
def test_split_is_a_partition_and_merge_its_inverse(
    tree: dict[str, dict[str, int]], layers: frozenset[str], leaves: frozenset[str], kept: frozenset[str]
) -> None:
    freezing = Freezing(layers, leaves, kept)
    for split, frozen in (
        (freezing.split, lambda layer, leaf: layer in layers or f"{layer}/{leaf}" in leaves),
        (freezing.split_statistics, lambda layer, leaf: layer in layers | kept),
    ):
        moving, still = split(tree)
        assert merge(moving, still) == merge(still, moving) == tree
        for part, expected in ((moving, False), (still, True)):
            assert all(part.values())
            assert {frozen(layer, leaf) for layer in part for leaf in part[layer]} <= {expected}
