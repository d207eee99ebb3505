"""Evaluations as tables for the console."""

from typing import Any

from rich.table import Table

WIDEST_MATRIX = 12
"""Classes up to which the confusion matrix is printed; it is in the JSON in any case."""


def evaluation_tables(evaluation: dict[str, Any]) -> list[Table]:
    """Precision, recall, F1 and number of images of each class; and, for few classes, the confusion matrix."""
    classes = evaluation["classes"]
    scores = Table("class")
    for name in ("precision", "recall", "F1", "images"):
        scores.add_column(name, justify="right")
    for name in classes:
        row = evaluation["per_class"][name]
        scores.add_row(name, *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")), str(row["support"]))
    if len(classes) > WIDEST_MATRIX:
        return [scores]
    matrix = Table("is \\ taken for")
    for name in classes:
        matrix.add_column(name, justify="right")
    for name, row in zip(classes, evaluation["confusion_matrix"], strict=True):
        matrix.add_row(name, *map(str, row))
    return [scores, matrix]
