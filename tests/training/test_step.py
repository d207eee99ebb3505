"""The training step: accumulation, batch statistics, running means, saving, phases and bfloat16."""

import functools
from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from cnn_jax.config import AugmentConfig, ModelConfig, OptimizerConfig
from cnn_jax.data.mixing import mix
from cnn_jax.models.building import build
from cnn_jax.models.chain import Chain, Variables, layer_names
from cnn_jax.models.head import HEAD
from cnn_jax.models.model import Model, normalise
from cnn_jax.training.freezing import Freezing, merge
from cnn_jax.training.loss import losses
from cnn_jax.training.optimizer import make_optimizer
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.schedule import make_schedule
from cnn_jax.training.state import Settings, TrainState, moving
from cnn_jax.training.step import MIXING, StepOptions, make_predict, make_train_step, train_step

CLASSES, SIZE, BATCH = 4, 32, 8
NOTHING, PLAIN = Freezing(frozenset()), StepOptions()

small_cnn = functools.cache(
    lambda: build(ModelConfig(name="simple_cnn", image_size=8, filters=(4, 6), weights="none", dropout=0.0), CLASSES)
)


normed_cnn = functools.cache(
    lambda: build(
        ModelConfig(name="simple_cnn", image_size=12, filters=(4, 6), batch_norm=True, weights="none", dropout=0.0),
        CLASSES,
    )
)


@functools.cache
def mobilenet(precision: str = "float32") -> Model:
    """The first block of a MobileNet and a classifier: batch norms, a depthwise layer, and little to compile."""
    model = build(
        ModelConfig(name="mobilenet", alpha=0.25, image_size=SIZE, weights="none", dropout=0.0), CLASSES, precision
    )
    names = layer_names(model.layers)
    return replace(model, layers=model.layers[:9] + model.layers[names.index("conv_pw_13_relu") + 1 :])


def batches(model: Model, steps: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(steps):
        labels = rng.integers(0, CLASSES, BATCH, dtype=np.int32)
        images = rng.integers(0, 190, (BATCH, model.image_size, model.image_size, 3)) + 20 * labels[:, None, None, None]
        yield images.astype(np.uint8), labels


@functools.cache
def initial(name: str) -> Variables:
    """Of a model by the name of its function; the precision makes no difference."""
    return globals()[name]().init(1)


def start(model: Model, config: OptimizerConfig, freezing: Freezing = NOTHING, options: StepOptions = PLAIN):
    """A new state and its step."""
    made_by = {8: "small_cnn", 12: "normed_cnn", SIZE: "mobilenet"}
    variables = jax.tree.map(jnp.array, initial(made_by[model.image_size]))
    optimizer = make_optimizer(config, variables["params"])
    state = TrainState.create(
        variables, optimizer, freezing, Settings.of(0, make_schedule(config, 100, 10)), options.ema_decay is not None
    )
    return state, make_train_step(model, optimizer, freezing, Mesh.create(), options)


def optimizer(model: Model) -> optax.GradientTransformation:
    return make_optimizer(SGD, model.parameter_shapes)


def copied(tree):
    """On the host, since the next step consumes the arrays."""
    return jax.tree.map(np.array, tree)


def assert_near(actual, expected, rtol: float, atol: float = 0.0) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for path, value in jax.tree.leaves_with_path(expected):
        found = functools.reduce(lambda tree, key: tree[key.key], path, actual)
        np.testing.assert_allclose(found, value, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))


def assert_same(actual, expected) -> None:
    """Equal trees, bit by bit."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


SGD = OptimizerConfig(name="sgd", momentum=0.5, learning_rate=0.1, clip_norm=0.5)


def test_microbatches_give_the_update_and_the_sums_of_the_whole_batch() -> None:
    model, results = small_cnn(), []
    weights = jnp.array([1.0, 2.0, 0.5, 3.0])
    for microbatches in (1, 4):
        options = StepOptions(label_smoothing=0.1, class_weights=weights, microbatches=microbatches)
        state, step = start(model, SGD, options=options)
        reports = []
        for batch in batches(model, 3):
            state, report = step(state, *batch)
            reports.append(copied(report))
        results.append((copied(state.params), reports, state.totals))
    (params, reports, totals), (params_k, reports_k, totals_k) = results
    assert_near(params_k, params, rtol=1e-5, atol=1e-6)
    for whole, split in zip(reports, reports_k, strict=True):
        assert_near(split, whole, rtol=1e-5)
    assert (int(totals_k.count), int(totals_k.steps)) == (3 * BATCH, 3)
    assert int(totals_k.correct) == int(totals.correct)
    assert totals_k.means() == pytest.approx(totals.means(), rel=1e-5)


MIXED = StepOptions(mixing=AugmentConfig(mixup=0.4, cutmix=1.0))


@pytest.mark.long
def test_microbatches_mix_as_the_whole_batch_does() -> None:
    model, results = small_cnn(), []
    for options in (MIXED, replace(MIXED, microbatches=4)):
        state, step = start(model, SGD, options=options)
        for batch in batches(model, 3):
            state, _ = step(state, *batch)
        results.append((copied(state.params), state.totals.means()))
    (params, means), (params_k, means_k) = results
    assert_near(params_k, params, rtol=1e-5, atol=1e-6)
    assert means_k == pytest.approx(means, rel=1e-5)


@pytest.mark.long
def test_mixed_steps_report_the_loss_and_accuracy_of_what_the_step_number_mixes() -> None:
    """Also of a step that begins anew from the state of the one before: nothing else is remembered."""
    model = small_cnn()
    state, step = start(model, SGD, options=MIXED)
    images, labels = next(batches(model))
    losses_seen, expected, right = [], [], 0
    for number in range(4):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), number), MIXING)
        mixed = mix(jnp.asarray(images), jnp.asarray(labels), key, MIXED.mixing)
        logits = np.asarray(model.logits(state.variables, mixed.images), np.float64)
        log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        rows, shares = np.arange(BATCH), np.asarray(mixed.shares)
        target = shares * log_softmax[rows, labels] + (1 - shares) * log_softmax[rows, np.roll(labels, 1)]
        expected.append(-target.mean())
        right += int((logits.argmax(1) == np.where(shares >= 0.5, labels, np.roll(labels, 1))).sum())
        if number == 2:
            step = make_train_step(model, optimizer(model), NOTHING, Mesh.create(), MIXED)
        state, report = step(state, images, labels)
        losses_seen.append(float(report["loss"]))
    np.testing.assert_allclose(losses_seen, expected, rtol=1e-5)
    assert state.totals.means()["accuracy"] == right / (4 * BATCH)


def test_a_run_with_another_rate_seed_or_length_finds_the_compiled_step_of_the_one_before() -> None:
    config = OptimizerConfig(schedule="cosine", learning_rate=0.01, warmup_epochs=1)
    model, batch = small_cnn(), next(batches(small_cnn()))
    state, step = start(model, config)
    before = step.lower(state, *batch).as_text()
    other = Settings.of(
        7, make_schedule(replace(config, learning_rate=0.1, warmup_epochs=0, final_fraction=0.5), 30, 5)
    )
    _, step = start(model, config)
    assert step.lower(replace(state, settings=jax.tree.map(jnp.asarray, other)), *batch).as_text() == before


def test_the_report_and_the_totals_are_sums_over_the_batches_in_float64() -> None:
    """Loss and accuracy of the parameters before each update, from the inference logits of a model without chance."""
    model = small_cnn()
    state, step = start(model, SGD)
    inference = jax.jit(model.logits)
    expected, right = [], 0
    for images, labels in batches(model, 3):
        logits = np.asarray(inference(state.variables, images), np.float64)
        expected.append(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(BATCH), labels]))
        right += int((logits.argmax(1) == labels).sum())
        state, report = step(state, images, labels)
        assert float(report["loss"]) == pytest.approx(expected[-1], rel=1e-5)
    means = state.totals.means()
    assert means["loss"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert means["accuracy"] == right / (3 * BATCH)


@pytest.mark.long
def test_with_batch_norm_the_parts_run_in_turn_and_move_the_statistics_each() -> None:
    model, parts = mobilenet(), 4
    state, step = start(model, SGD, options=StepOptions(microbatches=parts))
    before = copied(state.variables)
    images, labels = next(batches(model))
    after, _ = step(state, images, labels)

    # the mean and variance of what the first convolution gives, in float64; it comes before any batch norm
    inputs = normalise(images, "tf")
    _, taps = Chain(model.layers).apply(before, inputs, taps=["conv1"])
    mean, var = np.zeros(8), np.ones(8)
    for part in range(parts):
        values = np.asarray(taps["conv1"], np.float64)[part::parts]
        mean = 0.99 * mean + 0.01 * values.mean((0, 1, 2))
        var = 0.99 * var + 0.01 * values.var((0, 1, 2))
    np.testing.assert_allclose(after.batch_stats["conv1_bn"]["mean"], mean, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(after.batch_stats["conv1_bn"]["var"], var, rtol=1e-5)

    # all the others, and the update, by a plain loop over the parts
    statistics, gradients = before["batch_stats"], []

    @jax.jit
    def gradient(params, statistics, images, labels):
        def loss(params):
            variables = {"params": params, "batch_stats": statistics}
            logits, moved = model.train_logits(variables, images, jax.random.key(0), ())
            return losses(logits, labels, 0.0, None).mean(), moved

        return jax.grad(loss, has_aux=True)(params)

    for part in range(parts):
        gradient_of_part, statistics = gradient(before["params"], statistics, images[part::parts], labels[part::parts])
        gradients.append(gradient_of_part)
    assert_near(copied(after.batch_stats), copied(statistics), rtol=1e-4, atol=1e-6)
    mean_gradient = jax.tree.map(lambda *g: np.mean(g, axis=0, dtype=np.float64), *gradients)
    norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(mean_gradient)))
    scale = 0.1 * min(1, 0.5 / norm)
    expected = jax.tree.map(lambda p, g: p - scale * g, before["params"], mean_gradient)
    assert_near(copied(after.params), expected, rtol=1e-4, atol=1e-5)


def test_the_running_mean_follows_its_recursion_and_is_what_is_evaluated() -> None:
    """The first two steps keep (1 + t) / (10 + t); from the third on that is above the decay."""
    model, decay = normed_cnn(), 0.28
    freezing = Freezing.until(model, "conv2")
    adam = OptimizerConfig(name="adam", learning_rate=0.01)
    state, step = start(model, adam, freezing, StepOptions(ema_decay=decay))
    initial = copied(state.variables)
    expected = jax.tree.map(np.float64, copied(moving(state.variables, freezing)))
    for t, batch in enumerate(batches(model, 6), start=1):
        state, _ = step(state, *batch)
        kept = min(decay, (1 + t) / (10 + t))
        values = copied(moving(state.variables, freezing))
        expected = jax.tree.map(lambda mean, new, k=kept: k * mean + (1 - k) * new, expected, values)
    assert_near(copied(state.average), expected, rtol=2e-6, atol=1e-7)
    assert "conv1" not in state.average["params"]
    assert list(state.average["batch_stats"]) == ["bn2"]
    evaluated = copied(state.evaluated)
    assert_same({key: merge(initial[key], state.average[key]) for key in initial}, evaluated)
    assert not np.array_equal(evaluated["params"][HEAD]["kernel"], state.params[HEAD]["kernel"])
    images, _ = next(batches(model))
    by_mean, by_last = (make_predict(model, Mesh.create())(v, images) for v in (evaluated, state.variables))
    assert np.abs(by_mean - by_last).max() > 1e-3


@pytest.mark.sample(1)
@pytest.mark.parametrize(("decay", "until"), [(None, "none"), (0.9, "conv2")])
def test_a_checkpoint_holds_all_that_it_takes_to_go_on_bit_by_bit(decay: float | None, until: str) -> None:
    model = normed_cnn()
    freezing = Freezing.until(model, until).matching(["head/bias"], model.shapes)
    adam = OptimizerConfig(name="adam", learning_rate=0.01)
    state, step = start(model, adam, freezing, StepOptions(ema_decay=decay))
    first, second, third = batches(model, 3)
    state, _ = step(state, *first)
    state, _ = step(state, *second)
    saved = copied(state.checkpoint(freezing))
    restored = TrainState.from_checkpoint(saved, freezing)
    assert_same(copied(restored), copied(state))
    assert_same(saved["variables"], copied(state.evaluated))
    assert ("moving" in saved["training"]) == (decay is not None)
    other, report = step(jax.tree.map(jnp.array, restored), *third)
    state, expected = step(state, *third)
    assert_same(copied((other, report)), copied((state, expected)))


@pytest.mark.long
def test_entering_another_partition_begins_the_optimizer_anew_and_keeps_steps_and_running_means() -> None:
    model = mobilenet()
    head = Freezing.until(model, HEAD)
    config = OptimizerConfig(name="adam", learning_rate=0.01)
    state, step = start(model, config, head, StepOptions(ema_decay=0.9))
    for batch in batches(model, 3):
        state, _ = step(state, *batch)
    before = jax.tree.map(jnp.array, state)
    later = Freezing.until(model, "conv_dw_1")
    optimizer = make_optimizer(config, state.params)
    entered = state.enter(optimizer, later, state.settings.schedule)
    assert int(entered.step) == 3
    assert_same(copied(entered.variables), copied(before.variables))
    assert_same(copied(entered.opt_state), copied(optimizer.init(later.split(state.params)[0])))
    assert [int(n) for n in jax.tree.leaves(entered.totals)] == [0] * 5
    mean, old = copied(entered.average), copied(before.average)
    assert_same(mean["params"][HEAD], old["params"][HEAD])
    assert not np.array_equal(mean["params"][HEAD]["kernel"], before.params[HEAD]["kernel"])
    for key, value in copied(moving(before.variables, later)).items():
        assert_same({k: v for k, v in mean[key].items() if k != HEAD}, {k: v for k, v in value.items() if k != HEAD})
    assert "conv1" not in mean["params"]
    moved, _ = make_train_step(model, optimizer, later, Mesh.create(), StepOptions(ema_decay=0.9))(
        entered, *next(batches(model))
    )
    assert int(moved.step) == 4


def test_entering_without_a_running_mean_has_none() -> None:
    model = small_cnn()
    state, _ = start(model, SGD)
    optimizer = make_optimizer(SGD, state.params)
    assert state.enter(optimizer, Freezing.until(model, HEAD), state.settings.schedule).average is None


@pytest.mark.long
def test_bfloat16_computes_activations_alone_and_keeps_everything_else_in_float32() -> None:
    adam, results = OptimizerConfig(name="adam", learning_rate=1e-3), {}
    for precision in ("float32", "bfloat16"):
        model = mobilenet(precision)
        state, step = start(model, adam, options=StepOptions(ema_decay=0.9))
        curve = []
        for batch in batches(model, 3):
            state, report = step(state, *batch)
            curve.append(float(report["loss"]))
        results[precision] = curve
        arrays = {jax.tree_util.keystr(path): leaf.dtype for path, leaf in jax.tree.leaves_with_path((state, report))}
        assert {name: kind for name, kind in arrays.items() if kind not in (jnp.float32, jnp.int32)} == {
            "[0].settings.key": jnp.uint32
        }
    assert results["bfloat16"] != results["float32"]
    np.testing.assert_allclose(results["bfloat16"], results["float32"], rtol=0.02)


@pytest.mark.long
def test_in_bfloat16_every_layers_output_and_every_product_is_bfloat16_and_the_logits_are_float32() -> None:
    model = mobilenet("bfloat16")
    variables = initial("mobilenet")
    images, _ = next(batches(model))
    names = layer_names(model.layers)
    inputs = normalise(images, "tf").astype(jnp.bfloat16)
    for train in (False, True):
        run = functools.partial(Chain(model.layers).apply, taps=names, train=train, mutable=["batch_stats"])
        (_, taps), _ = jax.eval_shape(run, variables, inputs)
        assert {name: tap.dtype for name, tap in taps.items() if tap.dtype != jnp.bfloat16} == {}

    def logits(params):
        return model.train_logits({**variables, "params": params}, images, jax.random.key(0), ())[0]

    assert logits(variables["params"]).dtype == jnp.float32
    program = jax.make_jaxpr(jax.grad(lambda params: logits(params).sum()))(variables["params"])
    products = [
        eqn
        for eqn in equations(program.jaxpr)
        if eqn.primitive.name in ("dot_general", "conv_general_dilated") and eqn.invars[0].aval.shape[-2] > 1
    ]  # one row times a matrix is a sum (models/ops/sums.py), which stays in float32
    assert len(products) >= 6
    assert {str(v.aval.dtype) for eqn in products for v in eqn.invars} == {"bfloat16"}


def equations(jaxpr) -> Iterator:
    """All equations, those of inner programs included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from equations(inner)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", "HIGHEST"), ("tensorfloat32", "HIGH"), ("bfloat16", "DEFAULT")],
)
def test_on_accelerators_every_product_of_a_step_has_the_digits_that_are_asked_for(
    precision: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mobilenet(precision)
    state, _ = start(model, SGD)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    step = train_step(model, optimizer(model), NOTHING)
    traced = jax.make_jaxpr(step)(state, *next(batches(model)))
    products = [eqn for eqn in equations(traced.jaxpr) if eqn.primitive.name in ("dot_general", "conv_general_dilated")]
    found = {str(each) for eqn in products for each in np.ravel(eqn.params["precision"])}
    assert len(products) > 10  # forwards and backwards
    assert found == {expected}


def test_batches_are_sent_so_many_before_they_are_asked_for_and_in_their_order() -> None:
    ended, begun = [], []

    def counted():
        try:
            for number in range(9):
                begun.append(number)
                yield {"image": np.full((2, 1), number), "label": np.array([number, 0]), "index": number}
        finally:
            ended.append(True)

    placed = Mesh.create().placed(counted(), 2)
    for number in range(4):
        batch = next(placed)
        assert (int(batch["image"][0, 0]), int(batch["label"][0]), batch["index"]) == (number, number, number)
        assert isinstance(batch["image"], jax.Array)
        assert len(begun) == number + 3
    placed.close()
    assert ended == [True]
