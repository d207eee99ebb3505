"""Evaluations for the console, no wider than 80 columns."""

from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.table import Table

from cnn_jax.evaluation.metrics import lowest_f1_first
from cnn_jax.io.escaping import plain

WIDTH = 80
WIDEST_MATRIX = 12
"""Classes up to which the confusion matrix is printed; it is in the JSON in any case."""
MOST_CLASSES = 30
"""Classes that are printed; of more, those with the lowest F1."""
TOP = 5
"""Of so many classes, every true class is among the most probable."""
MOST_ROWS = 10
"""Of confusions, and of mistakes."""


def evaluation_lines(record: dict[str, Any]) -> list[str]:
    """The figures of the whole split."""
    calibration, temperature = record["calibration"], record["calibration"]["temperature"]
    lines = [
        f"{record['split']}: {record['n']} images, checkpoint of step {record['checkpoint_step']}"
        + (", with mirror images" if record["flip_averaging"] else ""),
        f"accuracy   {record['accuracy']:.4f} (95 % interval {_interval(record['accuracy_ci95'])})",
        f"loss       {record['loss']:.4f}",
        f"ROC-AUC    {_number(record['roc_auc'], 4)}",
        f"ECE        {calibration['ece']:.4f} (expected calibration error)",
    ]
    if len(record["classes"]) > TOP:
        lines.insert(2, f"top 5      {record['top5_accuracy']:.4f}")
    if temperature is not None:
        with_it = f"loss {calibration['loss_at_temperature']:.4f}, ECE {calibration['ece_at_temperature']:.4f}"
        lines.append(f"           at the best temperature, {temperature:.3g}: {with_it}")
    if record["unreadable"]:
        lines.append(f"left out   {len(record['unreadable'])} images that cannot be read")
    return lines


def evaluation_tables(record: dict[str, Any]) -> list[Table]:
    """The scores of each class, what is taken for what, and the most confident mistakes."""
    confusions = _matrix(record) if len(record["classes"]) <= WIDEST_MATRIX else _most_confused(record)
    return [_scores(record), confusions, *([_mistakes(record)] if record["mistakes"] else [])]


def comparison_table(record: dict[str, Any]) -> Table:
    """Both runs, and on which examples they differ."""
    other = record["comparison"]
    table = _table("", "accuracy", "95 % interval", "right alone", numbers=3)
    table.add_row(
        "this run", f"{record['accuracy']:.4f}", _interval(record["accuracy_ci95"]), str(other["only_this_right"])
    )
    table.add_row(
        plain(other["run"]),
        f"{other['accuracy']:.4f}",
        _interval(other["accuracy_ci95"]),
        str(other["only_other_right"]),
    )
    table.add_row("difference", f"{other['difference']:+.4f}", _interval(other["difference_ci95"], "+"), "")
    return table


def comparison_lines(record: dict[str, Any]) -> list[str]:
    """How sure the difference is, and whether the comparison is fair."""
    other = record["comparison"]
    lines = [f"McNemar    exact two-sided p = {other['mcnemar_p_value']:.4g}"]
    if other["trained_on"] is None:
        lines.append(f"unknown    whether {other['run']} was trained on these images: its split.json is gone")
    elif other["trained_on"]:
        lines.append(f"beware     {other['run']} was trained on {other['trained_on']} of these {other['n']} images")
    return lines


def _scores(record: dict[str, Any]) -> Table:
    scores, names, first = record["per_class"], list(record["per_class"]), "class"
    if len(names) > MOST_CLASSES:
        names = lowest_f1_first(scores)[:MOST_CLASSES]
        first = f"{MOST_CLASSES} of {len(record['classes'])} classes, lowest F1 first"
    table = _table(first, "precision", "recall", "F1", "ROC-AUC", "images", numbers=5)
    for name in names:
        shares = (_number(scores[name][key], 3) for key in ("precision", "recall", "f1", "roc_auc"))
        table.add_row(plain(name), *shares, str(scores[name]["support"]))
    table.add_section()
    for kind in ("macro", "weighted"):
        table.add_row(f"{kind} average", *(f"{record[kind][key]:.3f}" for key in ("precision", "recall", "f1")))
    return table


def _matrix(record: dict[str, Any]) -> Table:
    """The confusion matrix; where the names are too long for the heads of the columns, numbers stand for them."""
    classes, rows = record["classes"], record["confusion_matrix"]
    heads, names = classes, classes
    columns = [max(cell_len(head), *(len(str(row[i])) for row in rows)) for i, head in enumerate(heads)]
    if max(map(cell_len, names)) + sum(columns) + 3 * len(columns) + 4 > WIDTH:
        heads = [str(number) for number in range(1, len(classes) + 1)]
        names = [f"{number} {name}" for number, name in zip(heads, classes, strict=True)]
    table = _table("is \\ taken for", *heads, numbers=len(heads))
    for name, row in zip(names, rows, strict=True):
        table.add_row(plain(name), *map(str, row))
    return table


def _most_confused(record: dict[str, Any]) -> Table:
    """The most frequent kinds of mistakes, in the place of a matrix that is too wide."""
    wrong = np.asarray(record["confusion_matrix"])
    np.fill_diagonal(wrong, 0)
    table = _table("is", "taken for", "images", numbers=1)
    for place in np.argsort(-wrong, axis=None, kind="stable")[:MOST_ROWS]:
        true, predicted = np.unravel_index(place, wrong.shape)
        if wrong[true, predicted]:
            names = (plain(record["classes"][true]), plain(record["classes"][predicted]))
            table.add_row(*names, str(wrong[true, predicted]))
    return table


def _mistakes(record: dict[str, Any]) -> Table:
    table = _table("most confident mistakes", "is", "taken for", "probability", "true class", numbers=2)
    for row in record["mistakes"][:MOST_ROWS]:
        figures = (f"{row[key]:.4f}" for key in ("probability", "true_probability"))
        table.add_row(plain(row["id"]), plain(row["true"]), plain(row["predicted"]), *figures)
    return table


def _table(*heads: str, numbers: int) -> Table:
    """An empty table; the last `numbers` columns are aligned to the right, long names are folded."""
    table = Table()
    for place, head in enumerate(heads):
        right = place >= len(heads) - numbers
        table.add_column(plain(head), justify="right" if right else "left", overflow="fold")
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(interval: tuple[float, float], sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.4f} to {high:{sign}.4f}"
