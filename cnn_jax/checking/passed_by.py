"""What lies in the folders of a data set and is not read: hidden, of another suffix, or in the wrong place."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from cnn_jax.checking.findings import Finding
from cnn_jax.data.sources import image_files, left_out
from cnn_jax.data.sources.csv_table import NO_ROW
from cnn_jax.data.sources.folders import below, is_image_name
from cnn_jax.io.files import Entry, entries

OTHER_SUFFIXES = (".heic", ".heif", ".jp2", ".jxl", ".svg", ".psd", ".tga", ".dcm", ".raw", ".dng")
"""Of pictures that are not taken for images."""


def passed_by(folder: Path, roots: Sequence[Path], classes: Collection[str]) -> Iterator[Finding]:
    """Files and folders below `folder` that are no images of the `classes`, which have their folders in the `roots`."""
    if folder not in roots:
        for entry in entries(folder):
            if folder / entry.name not in roots:
                yield _folder(folder, entry, "no split") if entry.is_dir() else _file(folder, entry, "outside")
    for root in roots:
        for entry in entries(root):
            if not entry.is_dir():
                yield _file(folder, entry, "outside")
            elif entry.name.startswith("."):
                yield _folder(folder, entry, "hidden")
            elif entry.name in classes:
                yield from _in_class(folder, entry.path)


def passed_by_flat(folder: Path) -> Iterator[Finding]:
    """The same where the images lie in `folder` itself, and its folders are not looked into."""
    for entry in entries(folder):
        if entry.is_dir():
            yield _folder(folder, entry, "flat: does not look into folders")
        elif not is_image_name(entry.name):
            yield _file(folder, entry)


def passed_by_table(kinds: Mapping[str, str]) -> Iterator[Finding]:
    """The rows of a table that are not used, and the images that it does not name; `kinds` says why of each."""
    for name, kind in kinds.items():
        yield Finding("ignored_image" if kind == NO_ROW else "unused_row", (name,), kind)


def _in_class(folder: Path, path: str) -> Iterator[Finding]:
    found: list[Finding] = []

    def passed(entry: Entry, kind: str) -> None:
        found.append(_folder(folder, entry, f"a {kind}") if entry.is_dir() else _file(folder, entry))

    def unread(error: OSError) -> None:
        found.append(Finding("unreadable_folder", (below(folder, error.filename),), str(error.strerror)))

    image_files(path, on_error=unread, passed=passed)
    yield from found


def _file(folder: Path, entry: Entry, place: str = "") -> Finding:
    kind = left_out.kind_of_file(entry.name)
    if kind == left_out.HIDDEN:
        return Finding("ignored_file", (below(folder, entry.path),), kind)
    picture = kind in OTHER_SUFFIXES or is_image_name(entry.name)
    why = left_out.OUTSIDE if place else f"suffix {kind}" if kind != left_out.NO_SUFFIX else kind
    return Finding("ignored_image" if picture else "ignored_file", (below(folder, entry.path),), why)


def _folder(folder: Path, entry: Entry, why: str) -> Finding:
    hidden = entry.name.startswith(".")
    unread: list[OSError] = []
    images = len(image_files(entry.path, on_error=unread.append))
    kind = "hidden_folder" if hidden else "ignored_image" if images or unread else "ignored_file"
    detail = f"{'hidden' if hidden else why}; images in it: {images:,}"
    if unread:
        detail += f", and what cannot be read: {below(folder, unread[0].filename)} ({unread[0].strerror})"
    return Finding(kind, (below(folder, entry.path) + "/",), detail)
