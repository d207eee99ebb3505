"""What lies in class folders and is no image is said by every command that trains or measures, and listed."""

import json
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import evaluate, sweep, train
from tests.conftest import write_image
from tests.training.helpers import SMALL_CNN, flags, with_


@pytest.mark.long
def test_files_of_other_kinds_are_counted_by_every_command_and_listed(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {"train/blue/a.mp4": ".mp4", "train/red/b.mp4": ".mp4", "validation/red/c": "no suffix"}
    for name in others:
        (image_folder / name).write_bytes(b"no image")
    line = "3 files of other kinds are left out: .mp4 2, no suffix 1"
    config = with_(SMALL_CNN, data={"dataset": f"folder:{image_folder}"}, train={"epochs": 1})
    run = tmp_path / "run"
    assert train.main([*flags(config, run), "--report=False"]) == 0
    assert line in capsys.readouterr().out
    assert json.loads((run / "left_out.json").read_text()) == others
    write_image(image_folder / "validation/red/late.png", np.zeros((9, 9, 3), np.uint8))
    assert evaluate.main([f"--checkpoint={run}", "--report=False"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"data       {line}"
    assert printed[1].strip().startswith("1 image is left out: split.json does not list it")
    assert json.loads((run / "evaluation-validation.json").read_text())["left_out"] == others
    swept = [*flags(config, tmp_path / "sweep"), "--learning-rates", "0.001"]
    assert sweep.main(swept) == 0
    assert line in capsys.readouterr().out.splitlines()[2]
    assert all((path.parent / "left_out.json").exists() for path in (tmp_path / "sweep").rglob("split.json"))
