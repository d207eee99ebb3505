"""Two short runs with their reports."""

import os
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import train
from tests.conftest import write_image

HOSTILE = ("\"'&amp;{{ 7 * 7 }}", "<img src=x onerror=alert(1)>")
"""Names of classes, in their order."""


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network on digits, cut short, with augmentation."""
    workdir = tmp_path_factory.mktemp("digits") / "run"
    flags = ("--train.epochs=2", "--data.steps_per_epoch=20", "--data.augment.rotation=20")
    assert train.main(["--exp=simple_cnn_digits", f"--workdir={workdir}", "--train.tensorboard=False", *flags]) == 0
    return workdir


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a head phase and a frozen layer, on images whose names try to break out of the page."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4)):
        for label, name in enumerate(HOSTILE):
            for i in range(count):
                pixels = rng.integers(60 * label, 200, (20, 20, 3), dtype=np.uint8)
                write_image(folder / "data" / split / name / f"{i}<script>alert(2)<!--.png", pixels)
    odd = folder / "data/validation" / HOSTILE[0]
    os.rename(odd / "0<script>alert(2)<!--.png", os.fsencode(odd) + b"/0\xff.png")
    flags = ("--model.filters", "4", "8", "--model.image_size=16", "--data.batch_size=4", "--train.tensorboard=False")
    phases = ("--train.epochs=3", "--train.head_epochs=1", "--train.freeze_until=conv2")
    data = f"--data.dataset=folder:{folder / 'data'}"
    assert train.main(["--exp=simple_cnn_digits", f"--workdir={folder / 'run'}", data, *flags, *phases]) == 0
    return folder / "run"
