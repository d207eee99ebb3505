"""The record of an evaluation, as files and on the console."""

import io
import json
import zipfile
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


def arrays(**changes: np.ndarray) -> bytes:
    """A file of predictions with some arrays in the place of good ones."""
    good = {"ids": np.array(["a", "b"]), "labels": np.array([0, 1], np.int32)}
    good |= {"logits": np.zeros((2, 2), np.float32), "classes": np.array(["x", "y"])}
    content = io.BytesIO()
    np.savez_compressed(content, **{name: array for name, array in {**good, **changes}.items() if array is not None})
    return content.getvalue()


def lying(name: str) -> bytes:
    """A file of predictions whose header of an array promises more than there is."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2)})
    content = io.BytesIO(arrays())
    with zipfile.ZipFile(io.BytesIO(content.getvalue())) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(content := io.BytesIO(), "w") as archive:
        for member, held in members.items():
            archive.writestr(member, header.getvalue() if member == f"{name}.npy" else held)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x05\x06" + bytes(18),
        arrays()[:-60],
        arrays(labels=np.array([0, 2], np.int32)),
        arrays(labels=np.array([0.0, 1.0])),
        arrays(logits=np.zeros((2, 3), np.float32)),
        arrays(logits=np.full((2, 2), np.nan, np.float32)),
        arrays(ids=np.array([["a"], ["b"]])),
        arrays(ids=np.array(["a", None], object)),
        lying("logits"),
    ],
    ids=["empty", "no arrays", "cut", "unknown class", "floats", "shape", "nan", "rank", "pickle", "lying"],
)
def test_predictions_that_are_damaged_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"does not hold|belong|numbers|bytes|Object|shape"):
        record.read_predictions(tmp_path / "p.npz")


def test_more_predictions_than_memory_is_meant_for_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MOST_BYTES", 100)
    (tmp_path / "p.npz").write_bytes(arrays(logits=np.zeros((2, 2), np.float32)))
    with pytest.raises(ValueError, match="more than 100"):
        record.read_predictions(tmp_path / "p.npz")
