"""The record of an evaluation, as files and on the console."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.special import softmax
from scipy.stats import binomtest

from cnn_jax.data.sources import ArrayImages, Split
from cnn_jax.evaluation import record, tables
from cnn_jax.evaluation.comparison import compare
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.evaluation.record import Evaluation, summarise
from tests.evaluation.helpers import ids, names, random_predictions


def summary(predictions: Predictions, classes: tuple[str, ...] | None = None) -> dict[str, Any]:
    """As `evaluate_run` makes it."""
    head = {"dataset": "digits", "split": "validation", "checkpoint_step": 3, "flip_averaging": False, "unreadable": []}
    return {**head, **summarise(predictions, classes or names(predictions), ids(predictions))}


def test_the_record_holds_the_interval_of_its_accuracy() -> None:
    found = summary(random_predictions(80, 4, 4, 1))
    expected = binomtest(round(found["accuracy"] * 80), 80).proportion_ci(0.95, method="wilson")
    assert tuple(found["accuracy_ci95"]) == pytest.approx((expected.low, expected.high), rel=1e-9)


@pytest.mark.parametrize(("n", "present"), [(20, 3), (1, 1)])
def test_what_is_undefined_is_null_and_the_record_is_valid_json(n: int, present: int) -> None:
    found = summary(random_predictions(n, 7, present, 0))
    back = json.loads(json.dumps(found, allow_nan=False))
    assert back == {**found, "accuracy_ci95": list(found["accuracy_ci95"])}
    assert back["roc_auc"] is None
    assert back["per_class"]["class 6"]["roc_auc"] is back["per_class"]["class 6"]["recall"] is None
    rows = [[str(cell) for cell in column.cells] for column in tables.evaluation_tables(found)[0].columns]
    assert rows[2][6] == rows[4][6] == "-"  # recall and ROC-AUC


def test_mistakes_are_the_most_confident_first_and_fifty_at_most() -> None:
    predictions = random_predictions(400, 3, 3, 2)
    probabilities = softmax(predictions.logits.astype(np.float64), axis=1)
    rows = [
        {
            "id": f"{i}.png",
            "true": f"class {label}",
            "predicted": f"class {row.argmax()}",
            "probability": row.max(),
            "true_probability": row[label],
        }
        for i, (row, label) in enumerate(zip(probabilities, predictions.labels, strict=True))
        if row.argmax() != label
    ]
    expected = sorted(rows, key=lambda row: -row["probability"])[:50]
    found = summary(predictions)["mistakes"]
    assert len(rows) > len(found) == 50
    assert found == expected


def test_the_files_hold_the_record_and_what_it_follows_from(tmp_path: Path) -> None:
    predictions = random_predictions(9, 3, 3, 0)
    strange = replace(Split(ids(predictions), predictions.labels, ArrayImages(np.zeros((9, 2, 2, 3), np.uint8))))
    strange = replace(strange, ids=("a\udcff.png", "ü.png", *strange.ids[2:]))
    evaluation = Evaluation("validation", strange, predictions, summary(predictions))
    record.write(evaluation, tmp_path / "e.json", tmp_path / "p.npz")
    assert json.loads((tmp_path / "e.json").read_text())["loss"] == evaluation.record["loss"]
    with np.load(tmp_path / "p.npz", allow_pickle=False) as saved:
        assert tuple(saved["ids"]) == strange.ids
        assert tuple(saved["classes"]) == names(predictions)
        again = summary(Predictions(saved["logits"], saved["labels"]))
        assert (saved["logits"].dtype, saved["labels"].dtype) == (np.float32, np.int32)
    assert again["mistakes"][0]["probability"] == evaluation.record["mistakes"][0]["probability"]
    assert again["calibration"] == evaluation.record["calibration"]


def printed(found: dict[str, Any]) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    for table in tables.evaluation_tables(found):
        console.print(table)
    if "comparison" in found:
        console.print(tables.comparison_table(found))
    return console.export_text()


def test_tables_fit_into_80_columns_whatever_the_names() -> None:
    predictions = random_predictions(200, 12, 12, 0)
    classes = tuple(f"Northern flat-coated [bold]retriever[/bold] no. {i}" for i in range(12))
    found = summary(predictions, classes)
    found["comparison"] = {"run": "runs/" + 90 * "x", **compare(predictions.right, ~predictions.right)}
    text = printed(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "[bold]" in text  # a name, no markup
    assert "taken for" in text
    assert all(f"{number} Northern" in text for number in range(1, 13))  # numbers stand for the names


def test_of_many_classes_the_worst_and_the_most_frequent_confusions_are_shown() -> None:
    predictions = random_predictions(3000, 40, 40, 0)
    found = summary(predictions)
    scores, confusions, _ = tables.evaluation_tables(found)
    assert scores.row_count == 30 + 2  # and two averages
    worst = min(found["per_class"], key=lambda name: found["per_class"][name]["f1"])
    assert str(next(iter(scores.columns[0].cells))) == worst
    counts = [int(str(cell)) for cell in confusions.columns[2].cells]
    matrix = np.asarray(found["confusion_matrix"])
    assert counts == sorted(matrix[~np.eye(40, dtype=bool)], reverse=True)[:10]


def test_the_lines_say_what_is_there_and_no_more() -> None:
    lines = tables.evaluation_lines(summary(Predictions(np.eye(2, dtype=np.float32), np.arange(2, dtype=np.int32))))
    assert not any("top 5" in line or "temperature" in line or "left out" in line for line in lines)
    many = summary(random_predictions(200, 8, 7, 0)) | {"flip_averaging": True, "unreadable": ["a.png", "b.png"]}
    text = "\n".join(tables.evaluation_lines(many))
    for part in ("top 5 ", "temperature", "left out   2 images", "mirror", "95 % interval", "ROC-AUC    -"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80
