"""What lies in the folders of a data set and is no example of it, by kind: nothing is left out without a word."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping

from cnn_jax.data.pillow import HAS_HEIF, INSTALL_HEIF
from cnn_jax.io.files import Entry

HIDDEN, HIDDEN_FOLDER, LINK, FOLDER = "hidden", "hidden folder", "link to a folder", "folder"
NO_SUFFIX, OUTSIDE = "no suffix", "outside the class folders"
"""Kinds beside suffixes."""

NAMED = 6
"""Kinds that a line names, the most frequent ones."""

LONGEST = 12
"""Characters of a suffix; what follows the last dot of a sentence is none."""


def kind_of_file(name: str) -> str:
    """Its suffix in small letters, or what it has in the place of one."""
    if name.startswith("."):
        return HIDDEN
    suffix = os.path.splitext(name)[1].lower()
    return suffix if 1 < len(suffix) <= LONGEST else NO_SUFFIX


def kind_of_folder(entry: Entry) -> str:
    """Why it is not looked into; empty where it is."""
    if entry.name.startswith("."):
        return HIDDEN_FOLDER
    return LINK if entry.is_symlink() else ""


def summary(kinds: Mapping[str, str]) -> str:
    """How many there are of each kind; `kinds` has the kind of each path."""
    counts = Counter(kinds.values()).most_common()
    rest = len(kinds) - sum(count for _, count in counts[:NAMED])
    named = ", ".join(f"{kind} {count:,}" for kind, count in counts[:NAMED])
    return named + (f", others {rest:,}" if rest else "")


def lines(kinds: Mapping[str, str]) -> Iterator[str]:
    """The line that says it, if there is anything to say."""
    if not kinds:
        return
    files = "1 file of another kind is" if len(kinds) == 1 else f"{len(kinds):,} files of other kinds are"
    heic = not HAS_HEIF and {".heic", ".heif"} & set(kinds.values())
    yield f"{files} left out: {summary(kinds)}" + (f" ({INSTALL_HEIF} reads .heic)" if heic else "")
