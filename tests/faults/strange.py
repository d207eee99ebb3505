"""Names and pictures from people who mean harm, or who simply write another language."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = "<script>alert(1)</script>"
NAMES = {
    "spaces": "two  words ",
    "unicode": "котёнок 猫 🐈 é",
    "not normalised": "e\u0301",
    "right to left": "exe\u202egnp",
    "terminal escape": "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "line break": "one\nerror: two\r",
    "markup": "[bold]a[nothing] {{ 7 * 7 }} {% raw %}",
    "html": "<img src=x onerror=alert(1)>\"'&amp;",
    "script": SCRIPT.replace("/", "\u2215"),
    "flag": "--help",
    "mathematics": "$\\frac{$_^",
    "percent": "%s%n$(touch owned)`touch owned`;touch owned",
    "long": "n" * 200,
    "dots": "a..b..",
    "glob": "[a-z]*?",
}
"""Kind to a name of a file, folder, class or run."""

NO_TEXT = os.fsdecode(b"caf\xe9")
"""The bytes of a name that are no UTF-8: of an archive from an older system."""


def picture(path: Path, seed: int, size: int = 12) -> None:
    """Noise, a PNG file of a few hundred bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "png")


def folder(root: Path) -> Path:
    """`train` and `validation` with a class of every strange name, two files in each, and one that is no text."""
    for split in ("train", "validation"):
        for number, name in enumerate(NAMES.values()):
            for i in range(2):
                picture(root / split / name / f"{name}{i}.png", 1000 * number + 10 * i + (split == "train"))
        picture(root / split / NAMES["spaces"] / f"{NO_TEXT}.png", 7 + (split == "train"))
    return root
