"""Say what is kept between runs and how large it is, and clear it.

    python -m cnn_jax.cache
    python -m cnn_jax.cache --clear features images

Nothing of it is needed: what is cleared is made, or downloaded, again when it is wanted. The folder is CNN_JAX_CACHE,
by default ~/.cache/cnn_jax.
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cnn_jax.cli import command_line
from cnn_jax.errors import ConfigError
from cnn_jax.io.escaping import printable
from cnn_jax.io.files import cache_folder

KINDS = {
    "compiled": "programs of the network, compiled",
    "features": "outputs of frozen layers",
    "images": "resized images",
    "predictions": "what trained networks said of images",
    "hashes": "what image files hold, as hashes",
    "flops": "the work of training every layer",
    "weights": "pretrained weights, downloaded",
    "tfds": "what is known of data sets on gs://",
    "flags": "the flags of the commands, for completion",
}
"""Folder of the cache, and what is in it."""

Kind = Literal["compiled", "features", "images", "predictions", "hashes", "flops", "weights", "tfds", "flags", "all"]


@dataclass(frozen=True)
class Arguments:
    """Flags of this command."""

    clear: Annotated[tuple[Kind, ...], tyro.conf.arg(metavar="KIND ...")] = ()
    """What to remove; `all` is everything that is listed."""


@dataclass(frozen=True)
class Contents:
    """What is kept of one kind."""

    files: int
    bytes: int
    used: float
    """When a file of it was last written or, of features, images and predictions, used; seconds since 1970."""

    @classmethod
    def of(cls, folder: Path) -> "Contents":
        """Of all files below the folder; a file that vanishes meanwhile does not count."""
        files, size, used = 0, 0, 0.0
        for parent, _, names in os.walk(folder, onerror=_unless_gone):
            for name in names:
                try:
                    stat = os.lstat(os.path.join(parent, name))
                except FileNotFoundError:
                    continue
                files, size, used = files + 1, size + stat.st_size, max(used, stat.st_mtime)
        return cls(files, size, used)


def _unless_gone(error: OSError) -> None:
    """A folder that cannot be read has a size that nobody knows."""
    if not isinstance(error, FileNotFoundError):
        raise error


def main(argv: Sequence[str]) -> int:
    """Parse the command line, clear what it names, print what is there; returns the exit code."""
    arguments = command_line.parse(Arguments, argv, command="cache", description=__doc__)
    folder = cache_folder()
    try:
        for kind in KINDS if "all" in arguments.clear else dict.fromkeys(arguments.clear):
            _clear(folder / kind)
        found = {kind: Contents.of(folder / kind) for kind in KINDS}
        others = sorted(path.name for path in folder.iterdir() if path.name not in KINDS) if folder.exists() else []
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be read or cleared: {error.strerror}") from error
    print(f"{printable(str(folder))}\n")
    print("\n".join(_table(found)))
    if others:
        print(f"\nnot of this package, and left alone: {', '.join(map(printable, others))}")
    return 0


def _clear(folder: Path) -> None:
    before = Contents.of(folder)
    if folder.exists():
        shutil.rmtree(folder)
    print(f"cleared    {folder.name}: {before.files:,} files, {_size(before.bytes)}")


def _table(found: dict[str, Contents]) -> list[str]:
    lines = [f"{'kind':<10}{'files':>8}{'size':>12}  {'last used':<12}what"]
    for kind, contents in found.items():
        used = time.strftime("%Y-%m-%d", time.localtime(contents.used)) if contents.files else "-"
        lines.append(f"{kind:<10}{contents.files:>8,}{_size(contents.bytes):>12}  {used:<12}{KINDS[kind]}")
    total = sum(contents.bytes for contents in found.values())
    return [*lines, f"{'all':<10}{sum(c.files for c in found.values()):>8,}{_size(total):>12}"]


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MB"


if __name__ == "__main__":
    command_line.run(main)
