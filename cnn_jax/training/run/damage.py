"""What of a run directory is no longer what a run wrote there: it is told and moved to the folder `damaged`.

Nothing is deleted. What was damaged counts as missing from then on, and whoever writes it makes it anew. Checkpoints
are held against their checksums where they are read (`checkpoints`).
"""

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from cnn_jax.config.serialization import from_json
from cnn_jax.errors import ConfigError
from cnn_jax.io.files import Entry, entries, parse_json, read_text
from cnn_jax.io.writing import is_remote

FOLDER = "damaged"
KINDS = {
    "config.json": dict,
    "classes.json": list,
    "weights.json": dict,
    "keras_layers.json": dict,
    "left_out.json": dict,
    "unreadable.json": dict,
    "result.json": dict,
    "trackers.json": dict,
}
"""Records and what their JSON is; split.json, which names every image, is read where it is used alone."""
METRICS = "metrics.jsonl"
SUFFIXES = (".json", ".jsonl", ".html", ".npz")
"""Of the files that a run writes beside its folders."""
FOLDERS = ("tensorboard",)

Say = Callable[[str], None]


def new_place(path: Path, name: str = "") -> Path:
    """Where something of the run directory of `path` is kept once it is damaged; the folder is made."""
    folder = path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    return folder / f"{name or path.name}-{time.time_ns()}"


def require_whole(path: Path) -> Any:
    """What a record holds, config.json a `Config`.

    Raises:
        OSError: see `read_text`.
        ValueError: see `read_text`; or it cannot be what a run writes.
        ConfigError: it is no configuration.
    """
    content, kind = read_text(path), KINDS[path.name]
    value = parse_json(content)
    if not isinstance(value, kind):
        raise ValueError(f"it holds no JSON {'object' if kind is dict else 'list'}")
    return from_json(content, path.name) if path.name == "config.json" else value


def move(path: Path, reason: str, say: Say) -> None:
    """Move what is damaged, with a line that says why."""
    if path.exists() or path.is_symlink():
        place = new_place(path)
        path.rename(place)
        say(f"damaged    {path.name}, moved to {place}: {reason}")


def mend(workdir: Path, say: Say) -> None:
    """Move what is damaged among the records of a run that goes on, each with a line."""
    for entry in entries(workdir) if workdir.exists() else ():  # in a bucket, a folder comes with its first file
        reason = _reason(workdir / entry.name, entry)
        if reason:
            move(workdir / entry.name, reason, say)


def _reason(path: Path, entry: Entry) -> str:
    """Why it is damaged; empty where it is not, or is nothing that a run writes."""
    if path.name in KINDS:
        try:
            require_whole(path)
        except OSError as error:
            return str(error.strerror)
        except (ValueError, ConfigError) as error:
            return str(error)
    elif path.name in FOLDERS and not entry.is_dir():
        return "it is no folder"
    elif path.suffix in SUFFIXES and not entry.is_file():
        return "it is no file"
    elif path.name == METRICS:  # whose lines `MetricsLog` looks at
        try:
            path.read_bytes()
        except OSError as error:
            return str(error.strerror)
    return ""


def require_files(folder: Path) -> None:
    """Raise ValueError where what lies below the folder is a pipe, which Orbax would wait for, or leads nowhere."""
    for parent, _, names in os.walk(folder) if not is_remote(folder) else ():
        for name in names:
            if not os.path.isfile(os.path.join(parent, name)):
                raise ValueError(f"{os.path.join(parent, name)} is no file")


def in_checkpoints(directory: Path) -> list[Path]:
    """Files that Orbax reads of all checkpoints in `directory` at once, and that are damaged."""
    steps = [path for path in sorted(directory.iterdir()) if path.name.isdigit()] if directory.is_dir() else []
    return [
        path / name
        for path in steps
        for name, numbers in (("_CHECKPOINT_METADATA", ()), ("metrics/metrics", ("accuracy", "loss")))
        if not _holds(path / name, numbers)
    ]


def _holds(path: Path, numbers: Collection[str]) -> bool:
    """Whether it is a JSON object with these numbers, or is not there."""
    try:
        value = parse_json(read_text(path))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and all(isinstance(value.get(name), int | float) for name in numbers)
