"""The training loss against Keras', and class weights against Keras' `fit` and scikit-learn."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from cnn_jax.data.mixing import Mixed
from cnn_jax.errors import ConfigError
from cnn_jax.training.loss import losses, mixed_losses, resolve_class_weights

CLASSES = 5


def examples(size: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of about that size, and labels that include every class."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(CLASSES), rng.integers(0, CLASSES, 11)]).astype(np.int32)
    return rng.normal(0, size, (len(labels), CLASSES)).astype(np.float32), labels


@pytest.mark.parametrize("size", [0.1, 3.0, 100.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_each_examples_loss_is_keras_from_logits(smoothing: float, size: float) -> None:
    logits, labels = examples(size)
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
    expected = reference(keras.ops.one_hot(labels, CLASSES), logits).numpy()
    result = losses(logits, labels, smoothing, None)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("gamma", "smoothing"), [(0.0, 0.1), (2.0, 0.0), (0.5, 0.2)])
def test_the_focal_loss_is_keras_and_its_gradient_is_finite_where_all_is_certain(
    gamma: float, smoothing: float
) -> None:
    logits, labels = examples()
    reference = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=gamma, from_logits=True, label_smoothing=smoothing, reduction=None
    )
    expected = reference(keras.ops.one_hot(labels, CLASSES), logits).numpy()
    np.testing.assert_allclose(losses(logits, labels, smoothing, None, gamma), expected, rtol=2e-5, atol=2e-6)
    certain = 200 * jax.nn.one_hot(labels, CLASSES)
    gradient = jax.grad(lambda values: losses(values, labels, smoothing, None, gamma).sum())(certain)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_shared_target_is_keras(smoothing: float) -> None:
    logits, labels = examples()
    rng = np.random.default_rng(1)
    partners, shares = np.roll(labels, 1), rng.uniform(size=len(labels)).astype(np.float32)
    eye = np.eye(CLASSES, dtype=np.float32)
    targets = shares[:, None] * eye[labels] + (1 - shares[:, None]) * eye[partners]
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
    batch = Mixed(jnp.zeros(()), *map(jnp.asarray, (labels, partners, shares)))
    result = mixed_losses(logits, batch, smoothing, None)
    np.testing.assert_allclose(result, reference(targets, logits).numpy(), rtol=2e-6, atol=2e-6)


def test_each_share_of_a_target_has_the_weight_of_its_class() -> None:
    logits, labels = examples()
    shares, partners = np.full(len(labels), 0.25, np.float32), np.roll(labels, 1)
    weights = np.arange(1, CLASSES + 1, dtype=np.float32)
    log_softmax = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    rows = np.arange(len(labels))
    expected = -(
        0.25 * weights[labels] * log_softmax[rows, labels] + 0.75 * weights[partners] * log_softmax[rows, partners]
    )
    batch = Mixed(jnp.zeros(()), *map(jnp.asarray, (labels, partners, shares)))
    np.testing.assert_allclose(mixed_losses(logits, batch, 0.0, jnp.asarray(weights)), expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_the_softmax_less_the_smoothed_target(smoothing: float) -> None:
    logits, labels = examples()
    exponentials = np.exp(logits.astype(np.float64))
    softmax = exponentials / exponentials.sum(1, keepdims=True)
    target = np.eye(CLASSES)[labels] * (1 - smoothing) + smoothing / CLASSES
    weights = np.arange(1, CLASSES + 1, dtype=np.float32)
    gradient = jax.grad(lambda x: losses(x, labels, smoothing, jnp.asarray(weights)).mean())(logits)
    expected = (softmax - target) * weights[labels][:, None] / len(labels)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_weigh_as_in_keras_fit(smoothing: float) -> None:
    """The model gives back its inputs, so the loss that Keras reports is that of the logits."""
    logits, labels = examples()
    weights = (0.5, 2.0, 1.0, 7.0, 0.25)
    inputs = keras.Input((CLASSES,))
    identity = keras.layers.Dense(CLASSES, use_bias=False, kernel_initializer="identity")
    model = keras.Model(inputs, identity(inputs))
    model.compile(
        keras.optimizers.SGD(0.0), keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    )
    targets = np.eye(CLASSES, dtype=np.float32)[labels]
    history = model.fit(
        logits, targets, batch_size=len(labels), shuffle=False, verbose=0, class_weight=dict(enumerate(weights))
    )
    result = losses(logits, labels, smoothing, resolve_class_weights(weights, labels, CLASSES)).mean()
    assert float(result) == pytest.approx(history.history["loss"][0], rel=1e-6)
    assert float(result) != pytest.approx(float(losses(logits, labels, smoothing, None).mean()), rel=0.1)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), max_size=40))))
def test_balanced_weights_are_scikit_learns(drawn: tuple[int, list[int]]) -> None:
    classes, more = drawn
    labels = np.array([*range(classes), *more], np.int32)
    weights = resolve_class_weights("balanced", labels, classes)
    assert weights is not None
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(classes), y=labels), 1e-6)


def test_no_weights_and_given_ones() -> None:
    labels = np.array([0, 1, 1], np.int32)
    assert resolve_class_weights(None, labels, 2) is None
    np.testing.assert_array_equal(resolve_class_weights((1.0, 3.0), labels, 2), np.float32([1, 3]))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 3.0)])
def test_the_wrong_number_of_weights_is_one_clear_error(weights: tuple[float, ...]) -> None:
    message = rf"^train\.class_weights has {len(weights)} numbers, but there are 2 classes$"
    with pytest.raises(ConfigError, match=message):
        resolve_class_weights(weights, np.array([0, 1], np.int32), 2)


def test_effective_weights_are_between_equal_and_balanced_ones() -> None:
    """(1 - b**n) / (1 - b) is the sum of the first n powers of b (Cui et al., 2019, proposition 1)."""
    labels = np.repeat(np.arange(3), [1, 50, 5000]).astype(np.int32)
    numbers = np.array([(0.999 ** np.arange(n)).sum() for n in (1, 50, 5000)])
    weights = resolve_class_weights("effective", labels, 3)
    np.testing.assert_allclose(weights, 3 / numbers / (1 / numbers).sum(), rtol=1e-6)


def test_a_class_without_images_cannot_be_balanced() -> None:
    with pytest.raises(ConfigError, match="class number 1 has no training image"):
        resolve_class_weights("balanced", np.array([0, 0, 2], np.int32), 3)
