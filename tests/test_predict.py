"""The predict command: classes of any number of files, from a run or a pretrained network."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

import cnn_jax
from cnn_jax import evaluate, predict
from cnn_jax.api import inference
from cnn_jax.data import splits
from cnn_jax.data.sources import open_dataset
from cnn_jax.errors import ConfigError, DataError, RunError, WeightsError
from cnn_jax.evaluation import known
from cnn_jax.training import trained_run
from cnn_jax.weights import imagenet_classes
from tests.conftest import write_image


@pytest.fixture(scope="module")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(small_run, tmp_path_factory.mktemp("predict") / "run")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(4):
        write_image(tmp_path / "photos" / f"{i}, ü.png", rng.integers(0, 256, (10, 9 + i, 3), dtype=np.uint8))
    (tmp_path / "photos" / "2, ü.png").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The class names are nowhere; the folder is one that is looked into."""
    for variable, folder in (("HOME", "home"), ("CNN_JAX_CACHE", "cache"), ("CNN_JAX_WEIGHTS", "weights")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / folder))
    monkeypatch.setattr(imagenet_classes, "URL", "http://127.0.0.1:9/none.json")
    return tmp_path / "weights"


@pytest.mark.long
def test_the_csv_has_the_best_classes_of_each_image_and_a_row_for_one_that_cannot_be_read(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    assert predict.main([f"--checkpoint={run}", str(photos), "--top=3", f"--output={output}"]) == 0
    with output.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "rank", "class_index", "class_name", "probability"]
    names = [str(photos / f"{i}, ü.png") for i in range(4)]
    assert [row[0] for row in rows] == [names[0]] * 3 + [names[1]] * 3 + [names[2]] + [names[3]] * 3
    path, *middle, probability = rows[6]
    assert (path, middle[:2], probability) == (names[2], ["", ""], "")
    assert middle[2].startswith("error: ")
    expected = cnn_jax.load(run)([names[0], names[1], names[3]]).probabilities
    for image, start in enumerate((0, 3, 7)):
        best = np.argsort(-expected[image])[:3]
        found = rows[start : start + 3]
        assert [row[1] for row in found] == ["1", "2", "3"]
        assert [int(row[2]) for row in found] == best.tolist()
        assert [row[3] for row in found] == [str(i) for i in best]
        np.testing.assert_allclose([float(row[4]) for row in found], expected[image][best], rtol=1e-5)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_json_lines_hold_the_same_and_the_error_under_its_own_name(run: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    flags = [f"--checkpoint={run}", f"--output={output}", "--top=99"]
    assert predict.main([*flags, str(photos / "1, ü.png"), str(photos / "2*")]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["rank"] for row in rows[:-1]] == list(range(1, 11))  # no more than there are classes
    assert sum(row["probability"] for row in rows[:-1]) == pytest.approx(1, abs=1e-5)
    assert set(rows[-1]) == {"path", "error"}


def test_every_file_of_a_folder_is_a_row_read_or_not(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    write_image(tmp_path / "photos/deep/a.png", pixels)
    (tmp_path / "photos/b").write_bytes((tmp_path / "photos/deep/a.png").read_bytes())
    (tmp_path / "photos/linked").symlink_to(tmp_path / "photos/deep")
    (tmp_path / "photos/gone.txt").symlink_to(tmp_path / "nowhere")
    for name in ("c.mp4", ".d.png", "e.jpg", "f.txt"):
        (tmp_path / "photos" / name).write_bytes(b"no image")
    output = tmp_path / "out.jsonl"
    assert predict.main([f"--checkpoint={run}", f"--output={output}", "--top=1", str(tmp_path / "photos")]) == 0
    rows = {row["path"]: row for row in map(json.loads, output.read_text().splitlines())}
    reasons = {str(Path(path).relative_to(tmp_path / "photos")): row.get("error") for path, row in rows.items()}
    none = "its content is none of JPEG"
    assert [reasons.pop(name) for name in ("b", "deep/a.png")] == [None, None]
    assert [reasons.pop(name).startswith(none) for name in ("c.mp4", "e.jpg", "f.txt")] == [True, True, True]
    assert reasons == {
        ".d.png": "not looked at: hidden",
        "linked": "not looked at: link to a folder",
        "gone.txt": "not looked at: it is no regular file",
    }
    assert list(rows) == sorted(rows)
    printed = capsys.readouterr()
    assert "files      5 are no images that are read: .txt 2, " in printed.out
    assert printed.err == "6 of 8 images could not be read\n"


def test_without_an_output_the_classes_are_printed(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main([f"--checkpoint={run}", "--top=2", str(photos)]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()[1:]  # after the line that says what the model is
    assert lines[0] == str(photos / "0, ü.png")
    assert [len(line.split()) for line in lines[1:3]] == [2, 2]
    assert sum("cannot be read: " in line for line in lines) == 1
    assert printed.err == "1 of 4 images could not be read\n"


def test_where_nothing_can_be_read_the_exit_code_is_1(run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    assert predict.main([f"--checkpoint={run}", str(tmp_path / "a.png")]) == 1


@pytest.mark.long
def test_real_weights_name_breeds_of_dogs_and_cats_on_real_photographs(
    real_weights: Path, real_data: Path, no_names: Path, tmp_path: Path
) -> None:
    index = {str(i): [f"n{i}", f"name {i}"] for i in range(1000)}
    (no_names / imagenet_classes.FILE).write_text(json.dumps(index))
    validation, output = real_data / "cats_and_dogs" / "validation", tmp_path / "out.jsonl"
    paths = [str(path) for kind in ("cats", "dogs") for path in sorted((validation / kind).iterdir())[:20]]
    flags = [f"--model.weights={real_weights / 'mobilenet_7_5_224_tf.h5'}", "--model.name=mobilenet", "--top=1"]
    assert predict.main([*flags, f"--output={output}", *paths]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["path"] for row in rows] == paths
    assert all(row["class_name"] == f"name {row['class_index']}" for row in rows)
    assert sum(281 <= row["class_index"] <= 285 for row in rows[:20]) >= 12
    assert sum(151 <= row["class_index"] <= 268 for row in rows[20:]) >= 17


def test_without_the_names_numbers_stand_for_classes_and_how_to_get_the_names_is_said_once(
    no_names: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = inference.imagenet_names()
    assert (names[281], len(names)) == ("class 281", 1000)
    told = capsys.readouterr().err.splitlines()
    assert sum("CNN_JAX_WEIGHTS" in line and imagenet_classes.FILE in line for line in told) == 1


def test_a_file_without_classifier_is_refused_with_what_to_do(real_weights: Path, photos: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no classifier: give the file with the top"):
        predict.main([f"--model.weights={real_weights / 'mobilenet_2_5_224_tf_no_top.h5'}", str(photos)])


@pytest.mark.parametrize(
    ("flags", "kind", "message"),
    [
        ([], ConfigError, "which images"),
        (["x.png", "--top=0"], ConfigError, "--top=0"),
        (["x.png", "--output=out.txt"], ConfigError, r"\.csv or \.jsonl"),
        (["x.png", "--checkpoint=run", "--model.name=vgg16"], ConfigError, "give one of them"),
        (["gone/x.png", "--checkpoint=run"], DataError, "gone/x.png"),
        ([__file__, "--checkpoint=gone"], RunError, "--checkpoint=gone"),
        ([__file__, "--model.weights=gone.h5"], WeightsError, "gone.h5"),
    ],
)
def test_wrong_use_is_one_message(flags: list[str], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        predict.main(flags)


def test_an_output_that_cannot_be_written_is_named(run: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--output=.*gone.*cannot be written"):
        predict.main([f"--checkpoint={run}", str(photos), f"--output={tmp_path / 'gone' / 'out.csv'}"])


def test_below_the_threshold_the_answer_is_not_sure_and_the_table_says_so(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [str(photos / f"{i}, ü.png") for i in (0, 1, 3)]
    plain = cnn_jax.load(run)(names)
    best = plain.probabilities.max(-1)
    threshold = float(np.sort(best)[1])  # one image is below
    expected = tuple(
        name if p >= threshold else "not sure" for name, p in zip(plain.classes, best.tolist(), strict=True)
    )
    assert cnn_jax.load(run, threshold=threshold)(names).answers == expected
    assert plain.answers == plain.classes
    output = tmp_path / "out.csv"
    flags = [f"--checkpoint={run}", f"--threshold={threshold!r}", "--top=1"]
    assert predict.main([*names, *flags, f"--output={output}"]) == 0
    with output.open(newline="", encoding="utf-8") as file:
        assert [row["answer"] for row in csv.DictReader(file)] == list(expected)
    capsys.readouterr()
    assert predict.main([*names, *flags]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(photos))] == [
        f"{name}: {answer}" for name, answer in zip(names, expected, strict=True)
    ]


def test_what_is_far_from_the_training_images_is_none_of_the_classes(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    with pytest.raises(RunError, match=r"--other: .*features\.npz is not there: make it with .*evaluate .* --features"):
        cnn_jax.load(own, other=0.9)
    assert evaluate.main([f"--checkpoint={own}", "--features", "--report=False"]) == 0
    loaded = trained_run.load(own)
    data = splits.read(open_dataset(loaded.config.data), own / "split.json").splits
    rows = {}
    for name in ("train", "validation"):
        images = np.stack([loaded.resize.array(data[name].images.array(i)) for i in range(len(data[name]))])
        features = loaded.model.activations(loaded.variables, images, ["dropout"])["dropout"]
        rows[name] = normalize(np.asarray(features, np.float64))
    nearest = NearestNeighbors(n_neighbors=10).fit(rows["train"])
    distances = nearest.kneighbors(rows["validation"])[0][:, -1]
    classifier = cnn_jax.load(own, other=0.9)
    found = classifier([data["validation"].images.array(i) for i in range(40)])
    assert found.distances is not None
    np.testing.assert_allclose(found.distances, distances[:40], atol=1e-3)
    limit = np.quantile(distances, 0.9)
    clear = np.abs(distances[:40] - limit) > 2e-3
    others = np.asarray(found.answers) == "none of the classes"
    assert (others == (distances[:40] > limit))[clear].all()
    assert 0 < others.sum() < 20
    output = tmp_path / "out.jsonl"
    assert predict.main([str(photos), f"--checkpoint={own}", "--other=0.9", "--top=1", f"--output={output}"]) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [set(line) for line in lines if "error" not in line] == [{*predict.HEADER, "answer", "distance"}] * 3
    (own / "features.npz").write_bytes((own / "features.npz").read_bytes()[:-40])
    with pytest.raises(RunError, match=r"cannot be read .*: make it with"):
        cnn_jax.load(own, other=0.9)
    known.Known(np.eye(2, dtype=np.float32), np.zeros(1), "another").write(own)
    with pytest.raises(RunError, match="is of another checkpoint"):
        cnn_jax.load(own, other=0.9)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--threshold=1.5"], "--threshold=1.5 is not possible"),
        (["--checkpoint=run", "--other=1"], "--other=1.0 is not possible"),
        (["--other=0.9"], "--other is for a run"),
    ],
)
def test_impossible_doubts(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        predict.main(["x.png", *flags])


def test_a_file_does_not_know_the_images_that_it_was_trained_on(tmp_path: Path) -> None:
    (tmp_path / "mine.keras").touch()
    with pytest.raises(ConfigError, match=r"--other: .*mine\.keras does not know its training images: give the run"):
        cnn_jax.load(tmp_path / "mine.keras", other=0.9)
