"""Metrics against scikit-learn and scipy, and predictions without the padding."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from cnn_jax.data.stream import Batch
from cnn_jax.evaluation import metrics
from cnn_jax.evaluation.evaluator import predict_all
from cnn_jax.evaluation.metrics import Predictions, accuracy_and_loss, losses, summarise, wilson_interval


def random_predictions(n: int, classes: int, present: int, seed: int) -> Predictions:
    """Logits somewhat right, with examples of only the first `present` classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, min(present, classes), n, dtype=np.int32)
    logits = rng.normal(0, 2, (n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    return Predictions(logits, labels)


PREDICTIONS = st.builds(
    random_predictions, st.integers(1, 200), st.integers(2, 12), st.integers(1, 12), st.integers(0, 2**32 - 1)
)


def names(predictions: Predictions) -> tuple[str, ...]:
    return tuple(f"class {i}" for i in range(predictions.logits.shape[1]))


@settings(max_examples=60, deadline=None)
@given(PREDICTIONS)
def test_accuracy_loss_and_confusion_matrix_are_scikit_learns(predictions: Predictions) -> None:
    classes = range(predictions.logits.shape[1])
    summary = summarise(predictions, names(predictions))
    truth, predicted = predictions.labels, predictions.logits.argmax(1)
    assert summary["n"] == len(truth)
    assert summary["accuracy"] == accuracy_score(truth, predicted)
    expected = log_loss(truth, softmax(predictions.logits.astype(np.float64), axis=1), labels=classes)
    assert summary["loss"] == pytest.approx(expected, rel=1e-9)
    assert summary["confusion_matrix"] == confusion_matrix(truth, predicted, labels=classes).tolist()
    assert accuracy_and_loss(predictions) == {"accuracy": summary["accuracy"], "loss": summary["loss"]}


@settings(max_examples=60, deadline=None)
@given(PREDICTIONS)
def test_precision_recall_f1_and_support_of_each_class_are_scikit_learns(predictions: Predictions) -> None:
    summary = summarise(predictions, names(predictions))
    expected = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=range(len(names(predictions))), zero_division=0
    )
    assert list(summary["per_class"]) == summary["classes"] == list(names(predictions))
    for key, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        ours = [row[key] for row in summary["per_class"].values()]
        np.testing.assert_allclose(ours, values, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.builds(random_predictions, st.integers(1, 200), st.integers(6, 30), st.integers(1, 30), st.integers(0, 999)))
def test_top_5_accuracy_is_scikit_learns(predictions: Predictions) -> None:
    classes = range(predictions.logits.shape[1])
    expected = top_k_accuracy_score(predictions.labels, predictions.logits, k=5, labels=classes)
    assert summarise(predictions, names(predictions))["top5_accuracy"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_top_5_accuracy_of_up_to_five_classes_is_whole(classes: int) -> None:
    predictions = random_predictions(50, classes, classes, 0)
    assert summarise(predictions, names(predictions))["top5_accuracy"] == 1


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, 1e30])
def test_losses_of_logits_of_any_size_are_exact(scale: float) -> None:
    rng = np.random.default_rng(0)
    predictions = Predictions((rng.normal(0, 1, (40, 7)) * scale).astype(np.float32), rng.integers(0, 7, 40))
    expected = -log_softmax(predictions.logits.astype(np.float64), axis=1)[np.arange(40), predictions.labels]
    np.testing.assert_allclose(losses(predictions), expected, rtol=1e-12)


def test_the_first_of_equal_logits_is_predicted() -> None:
    predictions = Predictions(np.asarray([[1, 1, 0], [0, 2, 2], [0, 0, 0]], np.float32), np.zeros(3, np.int32))
    assert predictions.predicted.tolist() == [0, 1, 0]


def test_rows_of_the_confusion_matrix_are_the_true_classes() -> None:
    logits = np.eye(3, dtype=np.float32)[[1, 1, 2]]
    matrix = metrics.confusion_matrix(Predictions(logits, np.asarray([0, 0, 2], np.int32)))
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**5).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_the_accuracy_is_wilsons(counts: tuple[int, int]) -> None:
    right, n = counts
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(right, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    assert 0 <= low <= high <= 1


def test_the_summary_holds_the_interval_of_its_accuracy() -> None:
    predictions = random_predictions(80, 4, 4, 1)
    summary = summarise(predictions, names(predictions))
    right = round(summary["accuracy"] * 80)
    expected = binomtest(right, 80).proportion_ci(0.95, method="wilson")
    assert tuple(summary["accuracy_ci95"]) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_summary_is_json() -> None:
    predictions = random_predictions(20, 7, 3, 0)
    summary = summarise(predictions, names(predictions))
    back = json.loads(json.dumps(summary))
    assert back == {**summary, "accuracy_ci95": list(summary["accuracy_ci95"])}


def batches(n: int, batch_size: int) -> list[Batch]:
    """Images whose one pixel is their number, and padding whose labels and pixels are wrong on purpose."""
    found = []
    for start in range(0, n, batch_size):
        numbers = np.arange(start, start + batch_size)
        mask = numbers < n
        image = np.where(mask, numbers, 99).astype(np.uint8).reshape(-1, 1, 1, 1)
        label = np.where(mask, numbers % 3, 77).astype(np.int32)
        found.append({"image": image, "label": label, "index": np.where(mask, numbers, 0), "mask": mask})
    return found


@pytest.mark.parametrize("batch_size", [1, 4, 10, 16])
@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_predictions_leave_the_padding_out_and_keep_the_order(batch_size: int, convert: object) -> None:
    counted: list[int] = []

    def predict(image: np.ndarray) -> np.ndarray:
        assert image.shape == (batch_size, 1, 1, 1)
        return convert(np.repeat(image[:, 0, 0].astype(np.float32), 3, axis=1))  # type: ignore[operator]

    predictions = predict_all(predict, batches(10, batch_size), counted.append)
    assert predictions.logits.tolist() == [[i, i, i] for i in range(10)]
    assert predictions.labels.tolist() == [i % 3 for i in range(10)]
    assert sum(counted) == 10
    assert len(counted) == -(-10 // batch_size)
