"""The check_data command: what it prints and writes, and its exit code."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax import check_data
from cnn_jax.checking.check import check
from cnn_jax.checking.listing import list_images
from cnn_jax.config import DataConfig
from cnn_jax.data.sources import open_dataset
from cnn_jax.errors import ConfigError, DataError
from tests.checking.defects import STRANGE, clean, defective, photograph, save
from tests.data.test_sources import prepare_tfds
from tests.report.reading import read_page


def test_a_data_set_with_defects_is_told_in_table_json_page_and_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    root, out = tmp_path / "set", tmp_path / "out"
    planted = defective(root)
    out.mkdir()
    flags = [f"--json={out}/a.json", f"--html={out}/a.html", f"--write-exclude={out}/a.txt"]
    assert check_data.main([str(root), *flags]) == 1
    assert sorted(os.listdir(out)) == ["a.html", "a.json", "a.txt"]

    printed = capsys.readouterr().out
    assert STRANGE not in printed
    assert "\x1b" not in printed.replace(str(tmp_path), "")
    assert "<b>[bold]\\x1b[31m\\u202e.png" in printed
    record = json.loads((out / "a.json").read_text())
    assert f"{record['images']:,} images: {record['problems']} problems" in printed

    by_kind: dict[str, set[tuple[str, ...]]] = {}
    for finding in record["findings"]:
        by_kind.setdefault(finding["kind"], set()).add(tuple(sorted(finding["names"])))
    assert by_kind == planted
    assert record["splits"]["validation"] == {"cat": 7, "dog": 6}
    assert record["exclude"] == (out / "a.txt").read_text().splitlines()
    open_dataset(DataConfig(dataset=f"folder:{root}", exclude=f"{out}/a.txt"))

    page = read_page(out / "a.html")
    loaded = [value for element in page.below for name, value in element.attributes.items() if name in ("src", "href")]
    loaded = [address for address in loaded if not str(address).startswith("#")]
    assert "<b>[bold]\\x1b[31m\\u202e.png" in page.text
    assert not page.all("script")
    assert loaded
    assert all(address.startswith("data:image/jpeg;base64,") for address in loaded)
    for name in ("train/cat/cut.jpg", "validation/cat/leak.jpg", "train/dog/twin.jpg"):
        assert name in page.text
    assert check_data.main([str(root), f"--data.exclude={out}/a.txt"]) == 0


@pytest.mark.parametrize("prefix", ["", "folder:"])
def test_a_clean_folder_ends_with_0_and_writes_nothing(prefix: str, tmp_path: Path) -> None:
    root = clean(tmp_path / "set", each=2)
    before = sorted(tmp_path.rglob("*"))
    assert check_data.main([f"{prefix}{root}"]) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_prepared_examples_are_checked_too(tmp_path: Path) -> None:
    prepare_tfds(tmp_path, "made_up", {"train": 7, "test": 3}, file_format="tfrecord")
    config = DataConfig(dataset="tfds:made_up", data_dir=str(tmp_path))
    listing, dataset = list_images(config), open_dataset(config)
    assert list(listing.ids) == [id_ for split in dataset.splits.values() for id_ in split.ids]
    report = check(listing)
    assert report.readable.all()
    assert set(report.findings) <= {"tiny", "imbalance"}
    output = tmp_path / "a.json"
    assert check_data.main(["tfds:made_up", f"--data.data-dir={tmp_path}", f"--json={output}"]) == 0
    assert json.loads(output.read_text())["images"] == 10


@pytest.mark.long
def test_the_preview_has_readable_training_images_beside_augmented_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = clean(tmp_path / "set", each=2)
    (root / "train/cat/0.jpg").write_bytes(b"damaged")
    path = tmp_path / "preview.png"
    flags = [str(root), f"--preview={path}", "--model.image-size=24", "--data.augment.rotation=40"]
    assert check_data.main(flags) == 1
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float64)
    with Image.open(root / "train/cat/1.jpg") as image:
        original = np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR), np.float64)
    assert pixels.shape[0] == 16 + 18 + 2 * (3 * 24 + 2 * 4)  # and below how each way of resizing makes them square
    assert np.abs(pixels[:24, :24] - original).mean() < 12  # one resizes without antialias
    assert np.abs(pixels[:24, 36:60] - original).mean() > 12
    assert "nothing is augmented" not in capsys.readouterr().out
    assert check_data.main([str(root), f"--preview={path}", "--exp=quickstart"]) == 1
    assert "nothing is augmented" in capsys.readouterr().out


def test_a_data_set_that_training_refuses_has_no_preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = clean(tmp_path / "set", each=2)
    (root / "train/empty").mkdir()
    assert check_data.main([str(root), f"--preview={tmp_path}/preview.png"]) == 1
    assert "no preview: " in capsys.readouterr().out
    assert not (tmp_path / "preview.png").exists()


def test_an_exclude_list_that_empties_a_class_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = clean(tmp_path / "set", each=1)
    save(root / "validation/cat/again.jpg", photograph(0))
    assert check_data.main([str(root), f"--write-exclude={tmp_path}/a.txt"]) == 1
    assert "leaves no image of cat in train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["gone"], DataError, "there is no folder gone"),
        (["folder:gone"], DataError, "there is no folder gone"),
        (["flat:gone"], DataError, "there is no folder gone"),
        (["x", "--preview=a.jpg"], ConfigError, "--preview=a.jpg: the name must end with .png"),
        (["x", "--json=gone/a.json"], ConfigError, "there is no folder gone to write it into"),
        (["x", "--exp=zzz"], ConfigError, "--exp=zzz: no such experiment"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_wrong_use_is_told(arguments: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_data.main(arguments)
