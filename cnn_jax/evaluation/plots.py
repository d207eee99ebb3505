"""Evaluations as pictures."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from cnn_jax.io.escaping import printable

NAMED_CLASSES = 30
"""Up to how many classes their names are written along the axes."""
LONGEST_LABEL = 30
"""Characters of a name that are."""


def load() -> None:
    """Import what draws: most of a second, best beside the compiler."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def confusion_picture(
    matrix: Int[np.ndarray, "classes classes"], classes: tuple[str, ...]
) -> UInt8[np.ndarray, "h w 3"]:
    """A confusion matrix, with the true class in the row, as a picture.

    Colours are shares of the row; the numbers are counts.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    few = len(classes) <= NAMED_CLASSES
    side = 3 + 0.4 * min(len(classes), NAMED_CLASSES)
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    if few:
        labels = [_label(name) for name in classes]
        axes.set_xticks(range(len(classes)), labels, rotation=90, parse_math=False)
        axes.set_yticks(range(len(classes)), labels, parse_math=False)
        for (row, column), count in np.ndenumerate(matrix):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for it
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _label(name: str) -> str:
    """The name of a class, which may hold anything, as it fits beside a picture."""
    shown = printable(name)
    return shown if len(shown) <= LONGEST_LABEL else f"{shown[: LONGEST_LABEL - 1]}…"


def write_learning_rate_plot(
    path: Path, rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float
) -> None:
    """A picture of a range test: the loss of each step over its learning rate, and the rate to begin with."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    axes.semilogx(rates, losses, color="lightgray", label="each step")
    axes.semilogx(rates, smoothed, color="tab:blue", label="smoothed")
    axes.axvline(suggestion, color="tab:red", linestyle="--", label=f"suggestion {suggestion:.1e}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.set_ylim(0, 1.5 * max(smoothed[: max(len(smoothed) // 2, 1)]))
    axes.legend()
    canvas.print_png(path)
