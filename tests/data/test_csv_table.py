"""Tables of images and their classes, as Kaggle, laboratories and spreadsheets write them."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax import check_data, evaluate
from cnn_jax.config import CsvConfig, DataConfig
from cnn_jax.data.sources import UNSPLIT, Dataset, open_dataset
from cnn_jax.errors import DataError
from tests.conftest import write_image
from tests.data.test_sources import PIXELS, by_class, load_all, make
from tests.training.helpers import SMALL_CNN, train, with_


def open_table(path: Path, classes: tuple[str, ...] | None = None, /, **columns: Any) -> Dataset:
    return open_dataset(DataConfig(dataset=f"csv:{path}", classes=classes, csv=CsvConfig(**columns)))


def written(folder: Path, text: str, encoding: str = "utf-8", name: str = "labels.csv") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def test_kaggles_ids_without_suffix_find_their_files(tmp_path: Path) -> None:
    make(tmp_path / "train", "0a1.jpg", "b.2.jpg", "deep/c.png")
    path = written(tmp_path, "id,breed\n0a1,boston_bull\nb.2,pug\ndeep/c,pug\n")
    found = open_table(path, root=str(tmp_path / "train"))
    assert by_class(found, UNSPLIT) == {"boston_bull": ["0a1.jpg"], "pug": ["b.2.jpg", "deep/c.png"]}
    assert found.notes == ("labels.csv: images from the column id, classes from breed",)
    np.testing.assert_array_equal(load_all(found.splits[UNSPLIT])[2], PIXELS)
    np.testing.assert_array_equal(found.splits[UNSPLIT].images.array(2), PIXELS)
    with pytest.raises(DataError, match=rf"no such file 3\); the first, 0a1, .*data\.csv\.root={tmp_path}/train"):
        open_table(path)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("filename,label\na.png,café\nsub/b.png,dog\n", "utf-8"),
        ("filename,label\na.png,café\nsub/b.png,dog\n", "utf-8-sig"),
        ("filename;label\r\na.png;café\r\nsub\\b.png;dog\r\n", "cp1252"),
        ("sep=;\nfilename;label\na.png;café\nsub/b.png;dog\n", "utf-8"),
        ("x\tfilename\tlabel\n1,5\ta.png\tcafé\n2,5\tsub/b.png\tdog\n", "utf-16"),
        ('"filename","label"\n"a.png","café"\n"./sub/b.png", "dog"\n\n', "utf-8"),
        ("a.png|café\nsub/b.png|dog\n", "utf-8"),
        ("Age,Image,Diagnosis\n30,a.png, café \n31,sub/b.png,dog\n", "utf-8"),
    ],
)
def test_delimiter_encoding_header_and_columns_are_found(tmp_path: Path, text: str, encoding: str) -> None:
    make(tmp_path, "a.png", "sub/b.png")
    assert by_class(open_table(written(tmp_path, text, encoding)), UNSPLIT) == {"café": ["a.png"], "dog": ["sub/b.png"]}


def test_quoted_fields_are_read_as_they_were_written(tmp_path: Path) -> None:
    names = ["plain.png", 'a "quoted", one.png', "line\nbreak.png", "semi;colon.png"]
    make(tmp_path, *names)
    labels = ["cat, big", 'the "dog"', "cat, big", "x;y"]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *zip(names, labels, strict=True)])
    found = open_table(tmp_path / "labels.csv")
    split = found.splits[UNSPLIT]
    assert list(split.ids) == names
    assert [found.classes[label] for label in split.labels] == labels


def test_a_column_of_splits_divides_the_rows_and_columns_can_be_named(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png", "c.png", "d.png", "e.png")
    rows = ["a.png,1,cat,train,x", "b.png,2,dog,TRAIN,x", "c.png,3,cat,val,x", "d.png,4,dog,Test,x", "e.png,5,dog,,x"]
    path = written(tmp_path, "\n".join(["file,label,name,split,label2", *rows]))
    found = open_table(path, label="NAME")
    assert {name: list(split.ids) for name, split in found.splits.items()} == {
        "train": ["a.png", "b.png"],
        "validation": ["c.png"],
        "test": ["d.png"],
    }
    assert found.left_out == {"labels.csv, line 6: e.png": "no split"}
    assert "validation of labels.csv has no images of dog: nothing is measured for it there" in found.notes
    assert open_table(path, ("1", "2")).classes == ("1", "2")
    with pytest.raises(DataError, match=r"the rows of train have none of 3, 4, which another split has"):
        open_table(path)
    with pytest.raises(DataError, match=r"the column label2 has 'x', and a split is one of dev, test"):
        open_table(path, split="label2")
    with pytest.raises(DataError, match=r"data\.csv\.path=photo: .* no column of that name; it has: file, label"):
        open_table(path, path="photo")


def test_every_row_that_is_not_used_and_every_image_without_a_row_is_named(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png", "c.png", "c.jpg", "extra.png")
    (tmp_path / "d.mp4").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    rows = [
        "a.png,cat",
        "b.png,dog",
        "a.png,cat",
        "gone.png,cat",
        "c,cat",
        "d.mp4,dog",
        ",dog",
        "extra.png,",
        "pipe.png,cat",
    ]
    found = open_table(written(tmp_path, "\n".join(["path,label", *rows])))
    assert by_class(found, UNSPLIT) == {"cat": ["a.png"], "dog": ["b.png"]}
    unused = ["named again", "no such file", "several files", ".mp4", "no such file", "no label", "no such file"]
    lines = [f"labels.csv, line {n}: {row.split(',')[0]}" for n, row in enumerate(rows[2:], start=4)]
    without_row = dict.fromkeys(["c.png", "c.jpg"], "no row")
    assert found.left_out == {**dict(zip(lines, unused, strict=True)), **without_row}
    assert found.notes[1:] == (
        "7 of 9 rows of labels.csv are left out: no such file 3, named again 1, several files 1, .mp4 1, no label 1; "
        "the first is line 4: a.png",
        "2 images have no row in labels.csv, beside others that have one: left out",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,cat\na.png,dog\n", r"lines 2 and 3: a\.png is 'cat', and 'dog'; an image has one class"),
        ("path,label\na.png,cat\nb.png,dog\nc.png,cat dog\n", r"line 4: 'cat dog' is several of the classes; an image"),
        ("image_id,healthy,rust\na.png,1,0\nb.png,0,1\n", r"has a column for each class \(healthy, rust\): make one"),
        ("path,label\na.png,cat\nb.png,cat\n", "needs rows of two classes; the column label says 'cat' alone"),
        ("path,label\na.png,\nb.png,\n", r"no row can be used \(no label 2\); the column label has the classes"),
        ("path,label\na.png,cat\nb.png,dog,3\n", r"line 3: 3 fields, and 2 in the first row\. Put what holds"),
        ('path,label\na.png,"cat\nb.png,dog\n', r"line 3: unexpected end of data\. Look at its quotes"),
        ("a,b,c\nx,y,z\n", r"which column has the images\? It has a, b, c: say --data\.csv\.path=a, or another"),
        ("a,b,c\nx.png,y,z\n", r"which column has the classes\? It has a, b, c: say --data\.csv\.label"),
        ("path,label\n", "has no rows below its header"),
        ("", "has no rows"),
        ("PK\3\4", "is a workbook or an archive: open it in its program and save the sheet as CSV"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_way_out(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path, "a.png", "b.png", "c.png")
    with pytest.raises(DataError, match=message):
        open_table(written(tmp_path, text))


def test_several_labels_are_a_class_of_their_own_where_they_are_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png", "c.png")
    path = written(tmp_path, "path,label\na.png,cat\nb.png,dog\nc.png,cat dog\n")
    assert open_table(path, ("cat dog", "dog")).classes == ("cat dog", "dog")


@pytest.mark.long
def test_a_run_on_a_table_is_trained_resumed_measured_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, rows = np.random.default_rng(0), []
    for number in range(24):
        pixels = rng.integers(0, 100, (10, 10, 3), dtype=np.uint8)
        pixels[..., number % 2] += 120
        write_image(tmp_path / "photos" / f"{number}.png", pixels)
        rows.append(f"{number};{number % 2 + 9};{'valid' if number > 17 else 'train'}")
    path = written(tmp_path, "\n".join(["id;class;subset", *rows, "gone;9;train"]), name="table.csv")
    data = {"dataset": f"csv:{path}", "csv": CsvConfig(root=str(tmp_path / "photos"))}
    config = with_(SMALL_CNN, data=data, train={"epochs": 1})
    run = tmp_path / "run"
    result = train(config, run).result
    assert json.loads((run / "left_out.json").read_text()) == {"table.csv, line 26: gone": "no such file"}
    assert len(json.loads((run / "split.json").read_text())["splits"]["validation"]) == 6
    capsys.readouterr()
    assert train(config, run).result["best"] == result["best"]
    assert "10, 9" in capsys.readouterr().out
    assert evaluate.main([f"--checkpoint={run}", "--report=False"]) == 0
    assert "1 of 25 rows of table.csv are left out: no such file 1" in capsys.readouterr().out
    other = written(tmp_path / "photos", "id,class\n1,10\n2,9\n", name="other.csv")
    assert evaluate.main([f"--checkpoint={run}", f"--data.dataset=csv:{other}", "--report=False"]) == 0
    assert json.loads((run / "evaluation-all.json").read_text())["n"] == 2
    capsys.readouterr()
    flags = [f"--json={tmp_path}/found.json", f"--data.csv.root={tmp_path}/photos"]
    assert check_data.main([str(path), *flags]) in (0, 1)
    kinds = {finding["kind"] for finding in json.loads((tmp_path / "found.json").read_text())["findings"]}
    assert "unused_row" in kinds
