"""Evaluations as tables for the console."""

from typing import Any

from rich.table import Table

WIDEST_MATRIX = 12
"""Classes up to which the confusion matrix is printed; it is in the JSON in any case."""


def evaluation_table(evaluation: dict[str, Any]) -> Table:
    """A row a class: precision, recall, F1, support, and what its images were taken for."""
    classes = evaluation["classes"]
    with_matrix = len(classes) <= WIDEST_MATRIX
    table = Table(title="rows: true class; right part: predicted class" if with_matrix else None, title_justify="left")
    table.add_column("class")
    for name in ("precision", "recall", "F1", "images", *(classes if with_matrix else ())):
        table.add_column(name, justify="right")
    for i, name in enumerate(classes):
        row = evaluation["per_class"][name]
        matrix_row = [str(value) for value in evaluation["confusion_matrix"][i]] if with_matrix else []
        shares = [f"{row[key]:.3f}" for key in ("precision", "recall", "f1")]
        table.add_row(name, *shares, str(row["support"]), *matrix_row)
    return table
