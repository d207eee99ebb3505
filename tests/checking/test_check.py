"""A data set with each defect once: exactly these are found; what to leave out; what lies where."""

import os
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.checking.check import Report, check
from cnn_jax.checking.exclusion import as_text
from cnn_jax.checking.findings import KINDS
from cnn_jax.checking.listing import Listing, list_images
from cnn_jax.config import DataConfig
from cnn_jax.data.sources import open_dataset
from cnn_jax.errors import ConfigError, DataError
from tests.checking.defects import clean, defective, photograph, save
from tests.conftest import make_unlistable

Planted = tuple[Path, dict[str, set[tuple[str, ...]]], Report]


def listed(root: Path, kind: str = "folder", **fields: object) -> Listing:
    return list_images(DataConfig(dataset=f"{kind}:{root}", **fields))  # type: ignore[arg-type]


def found(report: Report) -> dict[str, set[tuple[str, ...]]]:
    return {kind: {tuple(sorted(f.names)) for f in findings} for kind, findings in report.findings.items()}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    root = tmp_path_factory.mktemp("check") / "set"
    expected = defective(root)
    return root, expected, check(listed(root))


def test_each_planted_defect_is_found_and_nothing_else(planted: Planted) -> None:
    _, expected, report = planted
    assert found(report) == expected
    assert all(len(findings) == len({f.names for f in findings}) for findings in report.findings.values())


def test_nothing_is_changed_by_looking(tmp_path: Path) -> None:
    root = clean(tmp_path / "set", each=2)

    def state() -> dict[str, tuple[int, bytes]]:
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in tmp_path.rglob("*")}

    before = state()
    assert check(listed(root)).findings == {}
    assert state() == before


def test_the_examples_are_those_of_training(planted: Planted, image_folder: Path) -> None:
    for root in (planted[0], image_folder):
        listing, dataset = listed(root), open_dataset(DataConfig(dataset=f"folder:{root}"))
        assert listing.classes == dataset.classes
        assert listing.splits == tuple(dataset.splits)
        assert list(listing.ids) == [id_ for split in dataset.splits.values() for id_ in split.ids]
        assert listing.label_of.tolist() == [label for s in dataset.splits.values() for label in s.labels.tolist()]


def test_what_the_list_leaves_out_cures_all_that_can_be_cured_so(planted: Planted, tmp_path: Path) -> None:
    root, _, report = planted
    path = tmp_path / "exclude.txt"
    path.write_bytes(as_text(report.listing, report.exclusion))
    assert path.read_text().splitlines() == [
        "train/cat/3.jpg",  # of a leak, the copy in validation stays
        "train/cat/4.jpg",  # of two labels, neither stays
        "train/cat/bomb.png",
        "train/cat/copy.jpg",  # of equals, the first stays
        "train/cat/cut.jpg",
        "train/cat/near.jpg",  # of near copies, the largest stays
        "train/cat/zero.png",
        "train/dog/twin.jpg",
    ]
    dataset = open_dataset(DataConfig(dataset=f"folder:{root}", exclude=str(path)))
    assert sum(map(len, dataset.splits.values())) == len(report.listing) - 8
    again = check(listed(root, exclude=str(path)))
    assert again.count("problem") == 0
    assert not {"exact_duplicate", "near_duplicate"} & set(again.findings)


def test_copies_in_a_set_that_will_be_divided_may_leak(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "cat" / f"{i}.jpg", photograph(i))
        save(tmp_path / "dog" / f"{i}.jpg", photograph(10 + i))
    save(tmp_path / "cat/again.jpg", photograph(1), quality=50)
    assert found(check(listed(tmp_path))) == {"may_leak": {("cat/1.jpg", "cat/again.jpg")}}


def test_a_picture_in_three_splits_stays_in_the_test_split_and_an_emptied_class_is_told(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for number, name in enumerate(("cat", "dog")):
            save(tmp_path / split / name / "own.jpg", photograph(hash_of(split, number)))
    for path in ("train/cat/own.jpg", "val/cat/own.jpg", "test/cat/own.jpg"):
        save(tmp_path / path, photograph(999))
    report = check(listed(tmp_path))
    assert found(report) == {"leak": {("test/cat/own.jpg", "train/cat/own.jpg", "val/cat/own.jpg")}}
    assert [report.listing.ids[i] for i in report.exclusion.left_out] == ["train/cat/own.jpg", "val/cat/own.jpg"]
    assert report.exclusion.emptied == (("train", "cat"), ("validation", "cat"))


def hash_of(split: str, number: int) -> int:
    return {"train": 0, "val": 10, "test": 20}[split] + number


@pytest.mark.parametrize(("images", "kind"), [(8, None), (9, "imbalance"), (41, "severe_imbalance")])
def test_imbalance_has_two_thresholds(images: int, kind: str | None, tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / "few" / f"{i}.png", photograph(i, (33, 33)))
    for i in range(images):
        save(tmp_path / "many" / f"{i}.png", photograph(100 + i, (33, 33)))
    expected = {} if kind is None else {kind: {("few", "many")}}
    assert found(check(listed(tmp_path))) == expected


def test_classes_without_images_and_classes_that_a_split_lacks(tmp_path: Path) -> None:
    root = clean(tmp_path / "set", each=2)
    (root / "train/empty").mkdir()
    save(root / "validation/more/1.jpg", photograph(50))
    assert found(check(listed(root))) == {
        "empty_class": {("train/empty",)},
        "missing_class": {("more",)},
        "unmeasured_class": {("empty",)},
    }
    assert found(check(listed(root, classes=("cat", "dog")))) == {}


def test_a_class_that_validation_lacks_is_a_warning_and_does_not_hide_what_training_refuses(tmp_path: Path) -> None:
    root = clean(tmp_path / "set", each=2)
    save(root / "train/rare/1.jpg", photograph(50))
    report = check(listed(root))
    assert found(report) == {"unmeasured_class": {("rare",)}}
    assert report.count("problem") == 0
    (root / "test/cat").mkdir(parents=True)
    assert "unmeasured_class" in found(check(listed(root)))
    (finding,) = check(listed(root)).findings["refused"]
    assert finding.detail.startswith(f"{root / 'test'} has no images")


def test_what_training_has_against_the_folders_is_quoted(tmp_path: Path) -> None:
    root = clean(tmp_path / "set", each=2)
    for i in range(2):
        for number, name in enumerate(("cat", "dog")):
            save(root / "val" / name / f"{i}.jpg", photograph(30 + 2 * i + number))
    (finding,) = check(listed(root)).findings["refused"]
    assert "more than one validation folder" in finding.detail


def test_files_that_cannot_be_read_are_no_copies_of_each_other(tmp_path: Path) -> None:
    root = clean(tmp_path / "set", each=2)
    for name in ("train/cat/a.jpg", "validation/dog/b.jpg"):
        (root / name).write_bytes(b"")
    assert found(check(listed(root))) == {"empty_file": {("train/cat/a.jpg",), ("validation/dog/b.jpg",)}}


def test_files_that_are_not_regular_are_not_waited_for(tmp_path: Path) -> None:
    root = clean(tmp_path / "set", each=2)
    os.mkfifo(root / "train/cat/pipe.jpg")
    os.symlink(tmp_path / "gone.jpg", root / "train/cat/dangling.jpg")
    os.symlink(root / "train/dog", root / "train/cat/folder")
    findings = found(check(listed(root)))
    assert findings["unreadable"] == {("train/cat/pipe.jpg",), ("train/cat/dangling.jpg",)}
    assert findings["ignored_image"] == {("train/cat/folder/",)}


def test_names_with_strange_bytes_and_line_breaks(tmp_path: Path) -> None:
    root = clean(tmp_path / "set", each=2)
    strange = os.fsdecode(b"caf\xe9.jpg")
    (root / "train/cat" / strange).write_bytes(b"")
    listing = listed(root)
    path = tmp_path / "exclude.txt"
    path.write_bytes(as_text(listing, check(listing).exclusion))
    assert path.read_bytes() == b"train/cat/caf\xe9.jpg\n"
    assert found(check(listed(root, exclude=str(path)))) == {}
    (root / "train/cat/two\nlines.jpg").write_bytes(b"")
    listing = listed(root)
    with pytest.raises(DataError, match="line break"):
        as_text(listing, check(listing).exclusion)


def test_flat_folders_have_the_class_in_the_name(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / f"cat.{i}.jpg", photograph(i))
        save(tmp_path / f"dog.{i}.jpg", photograph(10 + i))
    save(tmp_path / "dog.2.jpg", photograph(0))
    save(tmp_path / "more/cat.7.jpg", photograph(7))
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert found(check(listed(tmp_path, "flat"))) == {
        "two_labels": {("cat.0.jpg", "dog.2.jpg")},
        "ignored_image": {("more/",)},
        "ignored_file": {("Thumbs.db",)},
    }


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_data_without_files_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="looks at image files"):
        list_images(DataConfig(dataset=name))


def test_no_folder_and_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        listed(tmp_path / "gone")
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="at least two, with the images inside"):
        listed(tmp_path)


def test_pictures_without_class_folders_are_refused_as_training_refuses_them(tmp_path: Path) -> None:
    save(tmp_path / "cat.1.jpg", photograph(1))
    with pytest.raises(DataError) as training:
        open_dataset(DataConfig(dataset=f"folder:{tmp_path}"))
    with pytest.raises(DataError) as checking:
        listed(tmp_path)
    assert str(checking.value) == str(training.value)
    assert "say flat:" in str(checking.value)


def test_kinds_come_worst_first() -> None:
    order = ["problem", "warning", "note"]
    ranks = [order.index(kind.severity) for kind in KINDS.values()]
    assert ranks == sorted(ranks)
    assert np.unique(ranks).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("folder", "kind", "detail"),
    [
        ("train/cat/deep", "unreadable_folder", "Permission denied"),
        ("train/cat", "unreadable_folder", "Permission denied"),
        (
            "other/deep",
            "ignored_image",
            "no split; images in it: 0, and what cannot be read: other/deep (Permission denied)",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_is_found_and_the_others_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, kind: str, detail: str
) -> None:
    root = clean(tmp_path / "set", each=2)
    (root / "train/cat/deep").mkdir()
    (root / "other/deep").mkdir(parents=True)
    make_unlistable(monkeypatch, root / folder, PermissionError(13, "Permission denied"))
    report = check(listed(root))
    (finding,) = report.findings[kind]
    assert finding.names == ("other/" if folder == "other/deep" else folder,)
    assert finding.detail == detail
    assert bool(report.count("problem")) == (kind == "unreadable_folder")
