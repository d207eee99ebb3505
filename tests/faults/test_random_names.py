"""Thousands of file names drawn by a seed, through the commands that list files: each file is used or named."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.faults.commands import assert_harmless, run
from tests.faults.strange import NAMES, picture
from tests.training.helpers import SMALL_CNN, flags, with_

PIECES = [
    *(name.encode() for name in NAMES.values() if len(name) < 60),
    *(bytes([code]) for code in (*range(1, 47), *range(48, 256))),
    *(mark.encode() for mark in "\u200e\u2028\u202e\u2066\ufeff\u0301\U000e0041\ufffe\U0001f9d1\u200d"),
    *(b"._", b".", b"..", b"~", b" ", b".jpg", b".tar.gz", b"CON", b"\xed\xa0\x80", b"\xc0\xaf", b"a" * 70),
]
"""Every byte but the two that no name has, marks of Unicode, halves of surrogates, overlong forms, and odd names."""


def drawn(count: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Different names of one to eight pieces."""
    seen: set[bytes] = set()
    while len(seen) < count:
        name = b"".join(PIECES[int(i)] for i in rng.integers(0, len(PIECES), rng.integers(1, 9))) + b".png"
        if len(name) < 250 and name not in seen:
            seen.add(name)
            yield name


@pytest.mark.parametrize(
    "count", [pytest.param(200, marks=pytest.mark.long), pytest.param(10_000, marks=pytest.mark.slow)]
)
def test_each_file_is_used_or_named_whatever_it_is_called(
    count: int, finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], ended: Callable[..., None]
) -> None:
    data = tmp_path / "data"
    picture(tmp_path / "one.png", 0)
    picture(tmp_path / "other.png", 1)
    for number, name in enumerate(drawn(count, np.random.default_rng(0))):
        (folder := data / ("cat" if number % 2 else "dog")).mkdir(parents=True, exist_ok=True)
        os.link(tmp_path / ("one.png" if number % 3 else "other.png"), folder / os.fsdecode(name))
    files = {str(path) for path in data.rglob("*.png")}
    hidden = {str(path.relative_to(data)) for path in data.rglob(".*")}
    assert len(files) == count

    assert run("predict", data, f"--checkpoint={finished_run}", "--top=1", f"--output={tmp_path / 'p.csv'}") == 0
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert sorted(row["path"] for row in csv.DictReader(file)) == sorted(files)

    assert run("check_data", data, f"--json={tmp_path / 'c.json'}") in (0, 1)
    checked = json.loads((tmp_path / "c.json").read_text())
    assert checked["images"] == count - len(hidden)

    config = with_(
        SMALL_CNN,
        data={"dataset": f"folder:{data}", "split": (0.5, 0.5, 0.0), "steps_per_epoch": 2},
        train={"epochs": 1},
    )
    assert run("train", *flags(config, tmp_path / "run")) == 0
    splits = json.loads((tmp_path / "run" / "split.json").read_text())["splits"]
    left_out = json.loads((tmp_path / "run" / "left_out.json").read_text())
    assert left_out == dict.fromkeys(hidden, "hidden")
    named = [*left_out, *(name for ids in splits.values() for name in ids)]
    assert sorted(str(data / name) for name in named) == sorted(files)
    assert_harmless("".join(capfd.readouterr()))
    for _ in range(count):
        ended("file names drawn by a seed", "finished")
