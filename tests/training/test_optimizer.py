"""Update rules against Keras' optimizers, schedules against their formulas, and learning rates by layer."""

import functools
import math

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest

from cnn_jax.config import ModelConfig, OptimizerConfig
from cnn_jax.models.building import build
from cnn_jax.models.chain import layer_names
from cnn_jax.models.head import HEAD
from cnn_jax.models.model import Model
from cnn_jax.training.freezing import Freezing, count
from cnn_jax.training.optimizer import layer_factors, make_optimizer
from cnn_jax.training.schedule import make_schedule

STEPS, LEARNING_RATE = 10, 0.05

SHAPES = {"conv1": {"kernel": (3, 3, 2, 4)}, "conv1_bn": {"scale": (4,), "bias": (4,)}}
SHAPES[HEAD] = {"kernel": (4, 3), "bias": (3,)}
"""A convolution, its batch norm and a classifier."""


def draw(seed: int) -> tuple[dict, list[dict]]:
    """Parameters about 1 in size, and gradients from 1e-6 to 1, element by element, so that epsilon counts in some."""
    rng = np.random.default_rng(seed)

    def tree(sample) -> dict:
        return {k: {leaf: sample(shape).astype(np.float32) for leaf, shape in v.items()} for k, v in SHAPES.items()}

    sizes = tree(lambda shape: 10 ** rng.uniform(-6, 0, shape))
    noise = [tree(lambda shape: rng.normal(size=shape)) for _ in range(STEPS)]
    return tree(lambda shape: rng.normal(size=shape)), [jax.tree.map(np.multiply, sizes, part) for part in noise]


def ours(config: OptimizerConfig, params: dict, gradients: list[dict]) -> dict:
    optimizer, schedule = make_optimizer(config, SHAPES), make_schedule(config, STEPS, 1)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params, schedule=schedule)
        params = optax.apply_updates(params, updates)
    return params


def keras_result(optimizer: keras.optimizers.Optimizer, params: dict, gradients: list[dict]) -> dict:
    variables = {
        layer: {leaf: keras.Variable(value, name=leaf) for leaf, value in leaves.items()}
        for layer, leaves in params.items()
    }
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "scale"])
    paths = [(layer, leaf) for layer, leaves in variables.items() for leaf in leaves]
    for gradient in gradients:
        values = [keras.ops.array(gradient[layer][leaf]) for layer, leaf in paths]
        optimizer.apply(values, [variables[layer][leaf] for layer, leaf in paths])
    return {layer: {leaf: v.numpy() for leaf, v in leaves.items()} for layer, leaves in variables.items()}


def assert_close(actual: dict, expected: dict) -> None:
    """To 5e-6 where parameters are about 1 and move by about 0.1: float32's rounding in ten steps, either way round.

    Decay before the update, as Keras does it, or with it, as optax does, is the same sum but for that rounding.
    """
    for layer, leaves in expected.items():
        for leaf, value in leaves.items():
            np.testing.assert_allclose(actual[layer][leaf], value, rtol=0, atol=5e-6, err_msg=f"{layer}/{leaf}")


ADAM = {"beta_1": 0.8, "beta_2": 0.99}
RULES = {
    "adam": ({"name": "adam"}, keras.optimizers.Adam, {}),
    "adam, other betas and epsilon": ({"name": "adam", "epsilon": 1e-3, **ADAM}, keras.optimizers.Adam, None),
    "adam with decay": ({"name": "adam", "weight_decay": 0.1}, keras.optimizers.Adam, None),
    "adamw": ({"name": "adamw"}, keras.optimizers.AdamW, {}),
    "adamw, other decay": ({"name": "adamw", "weight_decay": 0.3, **ADAM}, keras.optimizers.AdamW, None),
    "sgd": ({"name": "sgd", "momentum": 0.0}, keras.optimizers.SGD, {}),
    "sgd with momentum": ({"name": "sgd"}, keras.optimizers.SGD, {"momentum": 0.9}),
    "sgd, Nesterov": ({"name": "sgd", "momentum": 0.8, "nesterov": True}, keras.optimizers.SGD, None),
    "sgd with decay": ({"name": "sgd", "momentum": 0.8, "weight_decay": 0.1}, keras.optimizers.SGD, None),
    "rmsprop": ({"name": "rmsprop"}, keras.optimizers.RMSprop, {}),
    "rmsprop with momentum": ({"name": "rmsprop", "momentum": 0.7, "rho": 0.8}, keras.optimizers.RMSprop, None),
    "rmsprop with decay": ({"name": "rmsprop", "weight_decay": 0.1}, keras.optimizers.RMSprop, None),
    "lamb": ({"name": "lamb"}, keras.optimizers.Lamb, {}),
    "lamb, other betas and epsilon": ({"name": "lamb", "epsilon": 1e-3, **ADAM}, keras.optimizers.Lamb, None),
}
"""Our settings; Keras' optimizer; its settings, where None is the same as ours and {} its defaults."""


@pytest.mark.sample(1)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_that_of_keras(rule: str) -> None:
    settings, keras_class, same = RULES[rule]
    if same is None:
        same = {key: value for key, value in settings.items() if key != "name"}
    params, gradients = draw(0)
    optimizer = keras_class(learning_rate=LEARNING_RATE, **same)
    result = ours(OptimizerConfig(learning_rate=LEARNING_RATE, **settings), params, gradients)
    assert_close(result, keras_result(optimizer, params, gradients))


@pytest.mark.parametrize("limit", [0.1, 100.0])
def test_clipping_is_that_of_keras_by_the_global_norm(limit: float) -> None:
    params, gradients = draw(1)
    norms = [math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in jax.tree.leaves(t))) for t in gradients]
    assert min(norms) > 0.1
    assert max(norms) < 100
    config = OptimizerConfig(name="sgd", learning_rate=LEARNING_RATE, clip_norm=limit, weight_decay=0.1)
    optimizer = keras.optimizers.SGD(LEARNING_RATE, 0.9, global_clipnorm=limit, weight_decay=0.1)
    assert_close(ours(config, params, gradients), keras_result(optimizer, params, gradients))


def test_decay_without_gradients_shrinks_kernels_and_nothing_else() -> None:
    params, gradients = draw(2)
    zeros = jax.tree.map(np.zeros_like, gradients)
    result = ours(OptimizerConfig(name="adamw", learning_rate=0.1, weight_decay=0.5), params, zeros)
    for layer, leaves in params.items():
        for leaf, value in leaves.items():
            factor = (1 - 0.1 * 0.5) ** STEPS if leaf == "kernel" else 1
            np.testing.assert_allclose(result[layer][leaf], value * factor, rtol=1e-5)


def test_lamb_decays_inside_the_trust_ratio_as_in_its_paper() -> None:
    """You et al., arXiv:1904.00962, algorithm 2, in float64; Keras decays outside of the ratio."""
    params, gradients = draw(3)
    config = OptimizerConfig(name="lamb", learning_rate=LEARNING_RATE, weight_decay=0.3)
    expected = jax.tree.map(lambda p: p.astype(np.float64), params)
    for layer, leaves in expected.items():
        for leaf in leaves:
            p, m, v = leaves[leaf], 0.0, 0.0
            for t, gradient in enumerate(gradients, start=1):
                g = gradient[layer][leaf].astype(np.float64)
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                update = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
                update += 0.3 * p * (leaf == "kernel")
                p = p - LEARNING_RATE * np.linalg.norm(p) / np.linalg.norm(update) * update
            leaves[leaf] = p
    assert_close(ours(config, params, gradients), expected)


PEAK, EPOCH = 0.3, 7


def rates(steps: int, **settings) -> np.ndarray:
    """The learning rate of each step and of two beyond the end, compiled as in the training step."""
    schedule = make_schedule(OptimizerConfig(learning_rate=PEAK, **settings), steps, EPOCH)
    return np.array(jax.jit(jax.vmap(lambda t: jnp.asarray(schedule(t), jnp.float32)))(jnp.arange(steps + 2)))


T = np.arange(42 + 2)
DONE = np.minimum(T / 42, 1)
FORMULAS = {
    "constant": ({}, np.full(len(T), PEAK)),
    "cosine": ({}, PEAK * (1 + np.cos(np.pi * DONE)) / 2),
    "cosine to a tenth": ({"final_fraction": 0.1}, PEAK * (0.1 + 0.9 * (1 + np.cos(np.pi * DONE)) / 2)),
    "linear": ({}, PEAK * (1 - DONE)),
    "linear to a tenth": ({"final_fraction": 0.1}, PEAK * (1 - 0.9 * DONE)),
    "step": ({"decay_epochs": 2.0, "decay_factor": 0.5}, PEAK * 0.5 ** (T // 14)),
    "exponential": ({"decay_epochs": 1.5, "decay_factor": 0.2}, PEAK * 0.2 ** (T / 10.5)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_schedules_follow_their_formulas(name: str) -> None:
    settings, expected = FORMULAS[name]
    np.testing.assert_allclose(rates(42, schedule=name.split()[0], **settings), expected, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("name", FORMULAS)
def test_after_the_warm_up_the_schedule_takes_the_steps_that_are_left(name: str) -> None:
    settings, _ = FORMULAS[name]
    with_warmup = rates(42, schedule=name.split()[0], warmup_epochs=1.5, **settings)
    warmup = 10  # of 1.5 epochs of 7 steps, rounded to even
    np.testing.assert_allclose(with_warmup[:warmup], PEAK * np.arange(1, warmup + 1) / warmup, rtol=1e-6)
    assert with_warmup[0] > 0
    np.testing.assert_array_equal(with_warmup[warmup:], rates(42 - warmup, schedule=name.split()[0], **settings))


def test_a_warm_up_longer_than_the_run_never_reaches_beyond_the_peak() -> None:
    np.testing.assert_allclose(rates(3, schedule="cosine", warmup_epochs=5)[:3], PEAK * np.array([1, 2, 3]) / 3)


@pytest.mark.parametrize("epoch", [7, 41, 82])
def test_a_step_schedule_falls_at_the_beginning_of_an_epoch_and_not_a_step_later(epoch: int) -> None:
    """n * (1 / n) is below 1 in float32 for n = 41 and 82, and XLA writes the division by a constant n in that way."""
    config = OptimizerConfig(learning_rate=1.0, schedule="step", decay_epochs=1.0, decay_factor=0.5)
    schedule = make_schedule(config, 3 * epoch, epoch)
    steps = jnp.array([epoch - 1, epoch, 2 * epoch - 1, 2 * epoch])
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(steps), [1, 0.5, 0.5, 0.25], rtol=1e-6)


def test_the_updates_follow_the_schedule_from_the_first_step() -> None:
    config = OptimizerConfig(name="sgd", momentum=0.0, learning_rate=1.0, schedule="linear", warmup_epochs=2)
    optimizer, schedule = make_optimizer(config, {HEAD: ("kernel",)}), make_schedule(config, 6, 1)
    params = {HEAD: {"kernel": jnp.zeros(())}}
    state, sizes = optimizer.init(params), []
    for _ in range(6):
        updates, state = optimizer.update({HEAD: {"kernel": jnp.ones(())}}, state, params, schedule=schedule)
        sizes.append(-float(updates[HEAD]["kernel"]))
    np.testing.assert_allclose(sizes, [0.5, 1, 1, 0.75, 0.5, 0.25], rtol=1e-6)


@functools.cache
def small(name: str) -> Model:
    return build(ModelConfig(name=name, alpha=0.25, image_size=32, weights="none", filters=(2, 3)), 4)


@functools.cache
def shapes_of(model: Model) -> tuple[dict, dict]:
    """Shapes of the variables, and the parameters' names in the order of the chain."""
    variables = model.shapes
    return variables, {name: variables["params"].get(name, {}) for name in layer_names(model.layers)}


def test_layer_decay_counts_the_layers_with_kernels_from_the_head() -> None:
    config = OptimizerConfig(layer_decay=0.5, head_learning_rate_multiplier=10.0)
    factors = layer_factors(config, shapes_of(small("simple_cnn"))[1])
    assert {k: factors[k] for k in ("conv1", "conv2", HEAD)} == {"conv1": 0.25, "conv2": 0.5, HEAD: 10.0}
    factors = layer_factors(config, shapes_of(small("mobilenet"))[1])
    assert factors[HEAD] == 10
    for block in range(1, 14):
        for kind, depth in (("pw", 2 * (13 - block) + 1), ("dw", 2 * (13 - block) + 2)):
            assert factors[f"conv_{kind}_{block}"] == factors[f"conv_{kind}_{block}_bn"] == 0.5**depth
    assert factors["conv1"] == factors["conv1_bn"] == 0.5**27


def test_without_these_settings_every_factor_is_1() -> None:
    assert set(layer_factors(OptimizerConfig(), shapes_of(small("mobilenet"))[1]).values()) == {1.0}


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
def test_the_update_of_a_layer_is_scaled_by_its_factor_decay_included(name: str) -> None:
    params, gradients = draw(4)
    settings = {"name": name, "learning_rate": LEARNING_RATE, "weight_decay": 0.2, "clip_norm": 0.5}
    plain = OptimizerConfig(**settings)
    scaled = OptimizerConfig(**settings, layer_decay=0.25, head_learning_rate_multiplier=3.0)
    updates = []
    for config in (plain, scaled):
        optimizer, schedule = make_optimizer(config, SHAPES), make_schedule(config, 1, 1)
        update = jax.jit(optimizer.update)
        updates.append(update(gradients[0], optimizer.init(params), params, schedule=schedule)[0])
    factors = {"conv1": 0.25, "conv1_bn": 0.25, HEAD: 3.0}
    for layer, factor in factors.items():
        for leaf, update in updates[0][layer].items():
            np.testing.assert_allclose(updates[1][layer][leaf], factor * update, rtol=1e-6)


MOMENTS = [("adam", 2), ("adamw", 2), ("sgd", 1), ("rmsprop", 1), ("lamb", 2)]


@pytest.mark.parametrize(("name", "moments"), MOMENTS)
def test_the_state_has_the_moments_of_the_trainable_parameters_and_nothing_of_the_frozen(
    name: str, moments: int
) -> None:
    model = small("mobilenet")
    variables, order = shapes_of(model)
    config = OptimizerConfig(name=name, clip_norm=1.0, layer_decay=0.8, head_learning_rate_multiplier=5.0)
    optimizer = make_optimizer(config, order)
    trainable, frozen = Freezing.until(model, "conv_pw_10").split(variables["params"])
    state = jax.eval_shape(optimizer.init, trainable)
    arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.shape]
    assert count(arrays) == moments * count(trainable)
    paths = "".join(jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state))
    assert frozen
    assert [layer for layer in frozen if f"'{layer}'" in paths] == []
    update = functools.partial(optimizer.update, schedule=make_schedule(config, 10, 1))
    updates, _ = jax.eval_shape(update, trainable, state, trainable)
    assert jax.tree.structure(updates) == jax.tree.structure(trainable)
