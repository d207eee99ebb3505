"""Frozen is frozen: bit-identical, without gradient, without optimizer memory, without a backward pass."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.models.model import Model, build
from cnn_jax.training.freezing import Freezing, count, digest
from cnn_jax.training.mesh import Mesh
from cnn_jax.training.state import TrainState
from cnn_jax.training.step import make_train_step
from tests.training.helpers import SMALL_MOBILENET, final_state, train, with_


@pytest.fixture(scope="module")
def model() -> Model:
    return build(ModelConfig(name="mobilenet", alpha=0.25, image_size=32, weights="none"), 10)


BATCH = (np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8), np.arange(4, dtype=np.int32))


def _after_steps(model: Model, freezing: Freezing, optimizer: optax.GradientTransformation, steps: int):
    variables = model.init(0)
    before = jax.tree.map(np.array, variables)
    state = TrainState.create(variables, optimizer, freezing)
    step = make_train_step(model, optimizer, freezing, 0, Mesh.create())
    for _ in range(steps):
        state, _ = step(state, *BATCH)
    return before, state


@pytest.mark.parametrize("until", ["conv_dw_6", "conv_pw_10", "head"])
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
    state = TrainState.create(model.init(0), optax.adam(1e-3), freezing)
    head = 256 * 10 + 10
    assert count(freezing.split(state.params)[0]) == head
    assert count(state.opt_state) == 2 * head + 1  # and the number of steps


def test_flops_of_a_step_fall_as_the_freeze_point_moves_down_the_chain(model: Model) -> None:
    flops = []
    for until in ("none", "conv_dw_4", "conv_pw_10", "head"):
        freezing = Freezing.until(model, until)
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
        state = TrainState.create(model.init(0), optimizer, freezing)
        step = make_train_step(model, optimizer, freezing, 0, Mesh.create())
        flops.append(step.lower(state, *BATCH).compile().cost_analysis()["flops"])
    assert flops == sorted(flops, reverse=True)
    assert flops[-1] < 0.5 * flops[0]


def test_a_frozen_gradient_cannot_scale_the_update_by_clipping(model: Model) -> None:
    """The trainable update under clipping is the one of a step that knows no frozen parameters."""
    freezing = Freezing.until(model, "head")
    before, state = _after_steps(model, freezing, optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0)), 1)
    moved = [np.asarray(state.params["head"][leaf]) - before["params"]["head"][leaf] for leaf in ("kernel", "bias")]
    norm = np.sqrt(sum(float((change.astype(np.float64) ** 2).sum()) for change in moved))
    np.testing.assert_allclose(norm, 1e-3, rtol=1e-3)


def test_a_whole_run_proves_that_the_frozen_part_is_unchanged(tmp_path: Path) -> None:
    result = train(SMALL_MOBILENET, tmp_path / "run").result
    assert result["frozen_unchanged"] is True
    assert result["parameters"]["frozen"] > 0
    trained = final_state(SMALL_MOBILENET, tmp_path / "run")
    untrained = with_(SMALL_MOBILENET, train={"freeze_until": "head"})
    train(untrained, tmp_path / "head")
    other = final_state(untrained, tmp_path / "head")
    frozen = [path for path in trained if "conv_dw_3" in path and "opt_state" not in path]
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
