"""Metrics against scikit-learn and scipy, and predictions without the padding."""

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
    roc_auc_score,
    top_k_accuracy_score,
)

from cnn_jax.data.stream import Batch
from cnn_jax.evaluation import metrics
from cnn_jax.evaluation.evaluator import flip_averaged, predict_all
from cnn_jax.evaluation.metrics import (
    Predictions,
    accuracy_and_loss,
    losses,
    one_vs_rest_auc,
    overall_auc,
    scores_by_class,
    top_k_accuracy,
    wilson_interval,
)
from tests.evaluation.helpers import PREDICTIONS, names, random_predictions


@settings(max_examples=60, deadline=None)
@given(PREDICTIONS)
def test_accuracy_loss_and_confusion_matrix_are_scikit_learns(predictions: Predictions) -> None:
    classes = range(predictions.logits.shape[1])
    found, truth = accuracy_and_loss(predictions), predictions.labels
    assert found["accuracy"] == accuracy_score(truth, predictions.logits.argmax(1))
    expected = log_loss(truth, softmax(predictions.logits.astype(np.float64), axis=1), labels=classes)
    assert found["loss"] == pytest.approx(expected, rel=1e-9)
    matrix = confusion_matrix(truth, predictions.logits.argmax(1), labels=classes)
    assert scores_by_class(predictions, names(predictions))["confusion_matrix"] == matrix.tolist()


@settings(max_examples=60, deadline=None)
@given(PREDICTIONS)
def test_precision_recall_f1_and_support_and_their_averages_are_scikit_learns(predictions: Predictions) -> None:
    found, truth, predicted = (
        scores_by_class(predictions, names(predictions)),
        predictions.labels,
        predictions.predicted,
    )
    classes, keys = range(len(names(predictions))), ("precision", "recall", "f1", "support")
    expected = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=np.nan)
    assert list(found["per_class"]) == found["classes"] == list(names(predictions))
    for key, values in zip(keys, expected, strict=True):
        scores = [np.nan if row[key] is None else row[key] for row in found["per_class"].values()]
        np.testing.assert_allclose(scores, values, rtol=1e-12)
    for average in ("macro", "weighted"):
        *values, _ = precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        assert list(found[average].values()) == pytest.approx(values, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(PREDICTIONS)
def test_the_areas_under_the_roc_curves_are_scikit_learns(predictions: Predictions) -> None:
    probabilities, labels = softmax(predictions.logits.astype(np.float64), axis=1), predictions.labels
    areas = one_vs_rest_auc(predictions)
    for label, area in enumerate(areas):
        positive = labels == label
        if positive.any() and not positive.all():
            assert area == pytest.approx(roc_auc_score(positive, probabilities[:, label]), rel=1e-12)
        else:
            assert area is None
    if None in areas:
        assert overall_auc(areas) is None
    elif len(areas) == 2:
        assert overall_auc(areas) == pytest.approx(roc_auc_score(labels, probabilities[:, 1]), rel=1e-12)
    else:
        expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
        assert overall_auc(areas) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.builds(random_predictions, st.integers(1, 200), st.integers(6, 30), st.integers(1, 30), st.integers(0, 999)))
def test_top_5_accuracy_is_scikit_learns(predictions: Predictions) -> None:
    classes = range(predictions.logits.shape[1])
    expected = top_k_accuracy_score(predictions.labels, predictions.logits, k=5, labels=classes)
    assert top_k_accuracy(predictions, 5) == pytest.approx(expected, rel=1e-12)


def test_of_equal_logits_the_first_classes_are_among_the_best() -> None:
    logits = np.zeros((6, 6), np.float32)
    predictions = Predictions(logits, np.arange(6, dtype=np.int32))
    assert top_k_accuracy(predictions, 5) == pytest.approx(5 / 6)
    assert top_k_accuracy(predictions, 1) == accuracy_and_loss(predictions)["accuracy"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("classes", [2, 5])
def test_top_5_accuracy_of_up_to_five_classes_is_whole(classes: int) -> None:
    assert top_k_accuracy(random_predictions(50, classes, classes, 0), 5) == 1


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


def test_flip_averaging_gives_the_mean_of_the_probabilities_of_an_image_and_its_mirror_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3), dtype=np.uint8)

    def predict(batch: np.ndarray) -> np.ndarray:
        return batch[:, 1].sum(-1).astype(np.float32) / 40  # one logit for each column

    expected = (softmax(predict(images), 1) + softmax(predict(images)[:, ::-1], 1)) / 2
    np.testing.assert_allclose(np.exp(flip_averaged(predict)(images)), expected, rtol=1e-5)


def test_a_batch_is_handed_over_before_the_answer_to_the_one_before_is_waited_for() -> None:
    events: list[str] = []

    class Answer:
        """What a device gives at once: waiting for it is what converts it."""

        def __init__(self, number: int) -> None:
            self.number = number

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            events.append(f"wait {self.number}")
            return np.zeros((4, 3), np.float32)

    def predict(image: np.ndarray) -> Answer:
        events.append(f"ask {image[0, 0, 0, 0] // 4}")
        return Answer(image[0, 0, 0, 0] // 4)

    predict_all(predict, batches(12, 4))  # type: ignore[arg-type]
    assert events == ["ask 0", "ask 1", "wait 0", "ask 2", "wait 1", "wait 2"]
