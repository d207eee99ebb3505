"""The report of a check as a page with thumbnails, one file that needs nothing else."""

from dataclasses import dataclass

from cnn_jax import html
from cnn_jax.checking.check import Report
from cnn_jax.checking.findings import KINDS, Finding, Kind
from cnn_jax.checking.inspection import TooManyPixels, read_header, small_picture
from cnn_jax.checking.listing import Listing
from cnn_jax.io.escaping import printable
from cnn_jax.io.tensorflow import read_errors

SIDE = 160
"""Pixels of the longer side of a thumbnail."""

SHOWN = 24
"""Findings of a kind that are shown; the JSON has all of them."""

COPIES = 6
"""Copies of a picture that are shown."""


@dataclass(frozen=True)
class Tile:
    """An image, or the name of what is none."""

    name: str
    place: str
    """Split and class."""
    address: str | None
    """Of the embedded thumbnail."""


@dataclass(frozen=True)
class Shown:
    """A finding."""

    tiles: tuple[Tile, ...]
    more: int
    """Copies that are not shown."""
    detail: str


@dataclass(frozen=True)
class Section:
    """The findings of a kind."""

    kind: Kind
    count: int
    shown: tuple[Shown, ...]

    @property
    def more(self) -> int:
        """Findings that are not shown."""
        return self.count - len(self.shown)


def page(report: Report) -> str:
    """The page, as HTML; reads the files that it shows once more."""
    listing = report.listing
    thumbnails: dict[int, str | None] = {}
    counts = listing.counts()
    return html.render(
        "check_data.html",
        title=f"Data check: {printable(listing.name)}",
        images=len(listing),
        classes=[printable(name) for name in listing.classes],
        splits=[(split, int(row.sum()), row.tolist()) for split, row in zip(listing.splits, counts, strict=True)],
        largest=max(int(counts.max()), 1),
        totals={severity: report.count(severity) for severity in ("problem", "warning", "note")},
        left_out=len(report.exclusion.left_out),
        sections=[
            Section(KINDS[kind], len(found), tuple(_show(listing, finding, thumbnails) for finding in found[:SHOWN]))
            for kind, found in report.findings.items()
        ],
    )


def _show(listing: Listing, finding: Finding, thumbnails: dict[int, str | None]) -> Shown:
    if not finding.members:
        tiles = tuple(Tile(printable(name), "", None) for name in finding.names[:COPIES])
    else:
        tiles = tuple(_tile(listing, index, thumbnails) for index in finding.members[:COPIES])
    return Shown(tiles, len(finding.names) - len(tiles), printable(finding.detail))


def _tile(listing: Listing, index: int, thumbnails: dict[int, str | None]) -> Tile:
    if index not in thumbnails:
        thumbnails[index] = _thumbnail(listing, index)
    place = f"{listing.splits[listing.split_of[index]]}, {listing.classes[listing.label_of[index]]}"
    return Tile(printable(listing.ids[index]), printable(place), thumbnails[index])


def _thumbnail(listing: Listing, index: int) -> str | None:
    """As training reads it; None where it cannot."""
    cannot: tuple[type[Exception], ...] = (OSError, TooManyPixels, *read_errors())
    try:
        content = listing.read(index)
        return html.photograph(small_picture(content, read_header(content), listing.background, SIDE), SIDE)
    except cannot:
        return None
