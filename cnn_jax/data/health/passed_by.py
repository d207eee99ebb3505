"""What lies in the folders of a data set and is not read: hidden, of another suffix, or in the wrong place."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from cnn_jax.data.health.findings import Finding
from cnn_jax.data.sources import image_files
from cnn_jax.data.sources.folders import is_image_name
from cnn_jax.files import Entry, entries

OTHER_SUFFIXES = (".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jfif", ".jpe", ".ppm", ".svg")
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


def _in_class(folder: Path, path: str) -> Iterator[Finding]:
    try:
        for entry in entries(path):
            if not entry.is_dir():
                if not is_image_name(entry.name):
                    yield _file(folder, entry)
            elif entry.name.startswith("."):
                yield _folder(folder, entry, "hidden")
            elif entry.is_symlink():
                yield _folder(folder, entry, "a link to a folder")
            else:
                yield from _in_class(folder, entry.path)
    except OSError as error:
        yield Finding("unreadable_folder", (below(folder, error.filename),), str(error.strerror))


def _file(folder: Path, entry: Entry, place: str = "") -> Finding:
    suffix = os.path.splitext(entry.name)[1].lower()
    if entry.name.startswith("."):
        return Finding("ignored_file", (below(folder, entry.path),), "hidden")
    picture = suffix in OTHER_SUFFIXES or is_image_name(entry.name)
    why = "outside the class folders" if place else f"suffix {suffix or 'none'}"
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


def below(folder: Path, path: str | Path) -> str:
    """The path relative to the folder, with slashes."""
    return os.path.relpath(path, folder).replace(os.sep, "/")
