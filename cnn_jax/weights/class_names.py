"""The names of the classes of a network in a file: said, or in a list beside the file."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from cnn_jax.errors import ConfigError, WeightsError
from cnn_jax.io.files import parse_json

MOST_BYTES = 2**22
"""Of a list; ImageNet's 21,841 classes take a tenth."""


def find(weights: Path, count: int, given: Sequence[str] | None) -> tuple[tuple[str, ...] | None, str]:
    """The names of `count` classes, in their order, and where they are from; None where nobody says them.

    Looked for are `FILE.classes.json`, `NAME.labels.txt` and `labels.txt`, as `export` and Teachable Machine write
    them, in the folder of the file.

    Raises:
        ConfigError: another number of names was given, or one twice.
        WeightsError: a list that cannot be read, or has another number of names.
    """
    if given is not None:
        if len(given) != count or len(set(given)) < count:
            raise ConfigError(f"--model.classes has {len(given)} names; {weights} tells {count} classes apart")
        return tuple(given), "--model.classes"
    beside = [weights.with_name(f"{weights.name}.classes.json"), weights.with_suffix(".labels.txt")]
    for path in (*beside, weights.with_name("labels.txt")):
        if path.is_file():
            names = _read(path)
            if len(names) != count or len(set(names)) < count:
                raise WeightsError(
                    f"{path} lists {len(set(names))} classes, and {weights} tells {count} apart: mend the list, or say "
                    "--model.classes"
                )
            return names, str(path)
    return None, ""


def _read(path: Path) -> tuple[str, ...]:
    """A JSON list, or a name a line, perhaps with its number before it: `0 Cat`."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise WeightsError(f"{path} is too large for a list of classes")
        text = path.read_text(encoding="utf-8-sig")
        names = parse_json(text) if path.suffix == ".json" else [line.strip() for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as a list of classes: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"{path} is no list of names: {json.dumps(names)[:60]}")
    names = [name for name in names if name]
    numbered = [re.fullmatch(r"(\d+)[\s:,]+(.+)", name) for name in names]
    if all(match and int(match[1]) == number for number, match in enumerate(numbered)):
        names = [match[2] for match in numbered if match]
    return tuple(names)
