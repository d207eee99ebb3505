"""sweep.html: the table and the picture of a sweep, in one file; sweep.png: the picture alone."""

import base64
from dataclasses import dataclass
from pathlib import Path

from cnn_jax import html
from cnn_jax.config.image_size import in_pixels
from cnn_jax.io.escaping import printable
from cnn_jax.io.writing import write_atomically
from cnn_jax.report.tables import configuration
from cnn_jax.sweeping import picture, rows
from cnn_jax.sweeping.console import cells
from cnn_jax.sweeping.rows import Row
from cnn_jax.sweeping.running import Sweep

PAGE, PICTURE = "sweep.html", "sweep.png"
CHOSEN = ("train.freeze_until", "optimizer.learning_rate", "seed")
"""Settings that the sweep itself gives."""


@dataclass(frozen=True)
class Shown:
    """A row of the table."""

    row: Row
    cells: tuple[str, ...]
    is_best: bool
    is_alike: bool
    """Whether its interval reaches the best accuracy."""


def write(sweep: Sweep) -> Path:
    """Write both into the directory of the sweep; returns the page.

    Raises:
        OSError: one of them cannot be written.
    """
    found = sweep.rows
    light, dark = (picture.draw(found, rows.best(found), colours) for colours in (picture.LIGHT, picture.DARK))
    write_atomically(sweep.workdir / PICTURE, light)
    write_atomically(sweep.workdir / PAGE, page(sweep, light, dark))
    return sweep.workdir / PAGE


def page(sweep: Sweep, light: bytes, dark: bytes) -> str:
    """The page, as HTML; the pictures are PNGs."""
    found, config = sweep.rows, sweep.grid.config
    chosen = rows.best(found)
    alike = [] if chosen is None else rows.not_told_apart(found, chosen)
    return html.render(
        "sweep.html",
        title=f"Sweep: {printable(sweep.workdir.resolve().name)}",
        folder=str(sweep.workdir),
        dataset=printable(config.data.dataset),
        model=config.model,
        image_size=in_pixels(config.model.image_size),
        epochs=config.train.epochs,
        images=sweep.images,
        classes=[printable(name) for name in sweep.classes],
        rows=[Shown(row, tuple(cells(row, False)), row is chosen, row in alike) for row in found],
        best=chosen,
        alike=alike,
        counts={"complete": sweep.count("completed"), "failed": sweep.count("failed"), "open": sweep.count("open")},
        rates=sweep.grid.learning_rates,
        seeds=sweep.grid.seeds,
        kinds={row.interval_kind for row in found},
        light=_address(light),
        dark=_address(dark),
        description=_describe(found),
        settings=[setting for setting in configuration(config) if setting.name not in CHOSEN],
    )


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _describe(found: list[Row]) -> str:
    """The picture in words."""
    parts = [
        f"{row.freeze_until}, learning rate {row.learning_rate:g}: "
        + (row.status if row.accuracy is None else f"accuracy {100 * row.accuracy:.1f} %")
        for row in found
    ]
    return "; ".join(parts)
