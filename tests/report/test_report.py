"""The report: every number equals the files', every picture is the right one, nothing breaks out of the page."""

import base64
import hashlib
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

from cnn_jax import evaluate, report, summarize, train
from cnn_jax.config import AugmentConfig, Config, ModelConfig
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import ArrayImages, Split, open_dataset
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.evaluation.record import summarise
from cnn_jax.models.building import build
from cnn_jax.report import writing
from cnn_jax.training import trained_run
from tests.report.conftest import HOSTILE
from tests.report.reading import Element, read_page, recorded, written


@pytest.fixture(scope="module")
def page(digits_run: Path) -> Element:
    return read_page(digits_run / "report.html")


@pytest.fixture(scope="module")
def hostile(hostile_run: Path) -> Element:
    return read_page(hostile_run / "report.html")


def _sources(page: Element) -> dict[str, Element]:
    return {str(number.attributes["data-source"]): number for number in page.all("data") if _source(number)}


def _source(number: Element) -> str | None:
    return number.attributes.get("data-source")


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["digits_run", "hostile_run"])
def test_every_number_that_a_file_holds_equals_the_files(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    page = read_page(run / "report.html")
    for number in page.all("data"):
        if (source := _source(number)) is not None:
            value = recorded(run, source)
            assert float(number.attributes["value"]) == value, source
            shown, half = written(number.text)
            assert abs(shown - value) <= half * (1 + 1e-6), source


def test_the_numbers_that_matter_are_there(digits_run: Path, page: Element) -> None:
    shown = set(_sources(page))
    evaluation = json.loads((digits_run / "evaluation-validation.json").read_text())
    expected = {"/accuracy", "/accuracy_ci95/0", "/accuracy_ci95/1", "/n", "/loss", "/top5_accuracy", "/roc_auc"}
    keys = ("precision", "recall", "f1", "roc_auc", "support")
    expected |= {f"/per_class/{name}/{key}" for name in evaluation["classes"] for key in keys}
    expected |= {f"/{kind}/{key}" for kind in ("macro", "weighted") for key in keys[:3]}
    expected |= {f"/confusion_matrix/{i}/{j}" for i in range(10) for j in range(10)}
    expected |= {f"/calibration/{k}" for k in ("ece", "temperature", "loss_at_temperature", "ece_at_temperature")}
    filled = [i for i, part in enumerate(evaluation["calibration"]["bins"]) if part["count"]]
    bin_keys = ("low", "high", "count", "confidence", "accuracy")
    expected |= {f"/calibration/bins/{i}/{key}" for i in filled for key in bin_keys}
    expected |= {f"/mistakes/{i}/{key}" for i in range(12) for key in ("probability", "true_probability")}
    assert {f"evaluation-validation.json#{pointer}" for pointer in expected} <= shown
    lines = (digits_run / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4
    curves = {f"metrics.jsonl#/{i}/{key}" for i in range(4) for key in ("loss", "accuracy")}
    assert curves | {"metrics.jsonl#/0/learning_rate", "metrics.jsonl#/3/images_per_second"} <= shown
    result = json.loads((digits_run / "result.json").read_text())
    timing = {f"/seconds/{part}" for part in result["seconds"] if part not in ("report", "other")}
    timing |= {"/wall_seconds", "/images_per_second", "/parameters/total", "/parameters/trainable"}
    assert {f"result.json#{pointer}" for pointer in timing} <= shown


def test_a_cell_holds_the_photographs_that_were_taken_so(digits_run: Path, page: Element) -> None:
    arrays = np.load(digits_run / "predictions-validation.npz")
    place = {str(id_): i for i, id_ in enumerate(arrays["ids"])}
    probabilities, predicted = softmax(arrays["logits"].astype(np.float64), -1), arrays["logits"].argmax(-1)
    everything = open_dataset(trained_run.load(digits_run).config.data).splits["all"]
    cells = {str(button.attributes["data-opens"]): int(button.text) for button in page.all("button", type="button")}
    dialogs = page.all("dialog")
    assert [dialog.attributes["id"] for dialog in dialogs] == list(cells)
    assert sum(cells.values()) == 359
    for dialog in dialogs:
        name = str(dialog.attributes["id"])
        _, true, guess = name.split("-")
        figures = dialog.all("figure")
        assert len(figures) == min(cells[name], 24)
        said = f"All {cells[name]}" if cells[name] <= 24 else f"Showing 24 of {cells[name]}"
        assert dialog.one("p").text.startswith(said)
        members = np.flatnonzero((arrays["labels"] == int(true)) & (predicted == int(guess)))
        sign = 1 if true == guess else -1  # the least sure of the right ones first, the surest mistakes
        order = members[np.argsort(sign * probabilities[members, int(guess)], kind="stable")]
        listed = [place[figure.one("span", class_="file").text] for figure in figures]
        assert listed == order[:24].tolist()
        for figure in figures:
            index = place[figure.one("span", class_="file").text]
            assert (arrays["labels"][index], predicted[index]) == (int(true), int(guess))
            shown, *own = (float(str(number.attributes["value"])) for number in figure.all("data"))
            assert shown == pytest.approx(probabilities[index, int(guess)], rel=1e-6)
            assert own == ([] if true == guess else [pytest.approx(probabilities[index, int(true)], rel=1e-6)])
        first = figures[0].one("img")
        original = everything.images.load(everything.ids.index(str(first.attributes["alt"])))
        np.testing.assert_array_equal(_pixels(first), Resize(16)(original).numpy())


def _pixels(image: Element) -> np.ndarray:
    kind, _, encoded = str(image.attributes["src"]).partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


def test_mistakes_and_hits_are_the_most_extreme_ones(digits_run: Path, page: Element) -> None:
    arrays = np.load(digits_run / "predictions-validation.npz")
    confidence, predicted = softmax(arrays["logits"], -1).max(-1), arrays["logits"].argmax(-1)
    right = predicted == arrays["labels"]
    wrong_ids = arrays["ids"][~right][np.argsort(-confidence[~right], kind="stable")][:12]
    unsure_ids = arrays["ids"][right][np.argsort(confidence[right], kind="stable")][:12]
    listed = [figure.one("span", class_="file").text for figure in page.one("section", id="cases").all("figure")]
    assert listed == [*wrong_ids, *unsure_ids]


def test_the_curves_are_drawn_where_their_axes_say(hostile_run: Path, hostile: Element) -> None:
    lines = [json.loads(line) for line in (hostile_run / "metrics.jsonl").read_text().splitlines()]
    charts = hostile.one("section", id="curves").all("svg", role="img")
    assert len(charts) == 3
    best = json.loads((hostile_run / "result.json").read_text())["best"]["epoch"]
    for chart, key in zip(charts, ("loss", "accuracy", "learning_rate"), strict=True):
        ticks = [t for t in chart.all("text", class_="tick") if t.attributes["text-anchor"] == "end"][:-1]
        y = [float(str(tick.attributes["y"])) - 4 for tick in ticks]
        up = np.polyfit(y, [float(tick.text) for tick in ticks], 1)
        across = {t.text: t.attributes["x"] for t in chart.all("text", class_="tick") if t.text in ("1", "2", "3")}
        for split in ("train", "validation"):
            wanted = [line[key] for line in lines if line["split"] == split and key in line]
            drawn = [str(curve.attributes["points"]).split() for curve in chart.all("polyline", class_=split)]
            points = [tuple(map(float, point.split(","))) for points in drawn for point in points]
            heights = [np.polyval(up, point[1]) for point in points]
            np.testing.assert_allclose(heights, wanted, atol=1e-3 * max(map(abs, wanted), default=1))
            if points:
                assert [f"{point[0]:g}" for point in points] == [f"{float(str(across[e])):g}" for e in ("1", "2", "3")]
        mark = chart.one("line", class_="best").attributes["x1"]
        assert mark == across[str(best)]
        head = chart.one("rect", class_="head").attributes
        end = float(str(head["x"])) + float(str(head["width"]))
        assert float(str(across["1"])) < end < float(str(across["2"]))


def test_the_frozen_proof_and_the_freeze_point(hostile_run: Path, hostile: Element) -> None:
    section = hostile.one("section", id="network")
    assert "bit-identical to the start" in section.text
    assert "the same as before the first step" in section.text
    loaded = trained_run.load(hostile_run)
    expected = summarize.as_json(summarize.summarise_config(loaded.config, 2), loaded.config)
    rows = [[cell.text for cell in row.children if isinstance(cell, Element)] for row in section.all("tr")[1:]]
    point = rows.index(["frozen above · trains from conv2 on"])
    names = [layer["name"] for layer in expected["layers"]]
    assert [row[0] for row in rows if len(row) > 1] == names
    assert rows[point + 1][0] == "conv2"
    for row, layer in zip(rows[:point] + rows[point + 1 :], expected["layers"], strict=True):
        assert row[3] == (f"{layer['parameters']:,}" if layer["parameters"] else "")
        assert row[4] == (layer["state"] or "")
        assert row[5] == (f"{layer['macs']:,}" if layer["macs"] else "")


def test_names_of_classes_and_files_cannot_break_out_of_the_page(hostile_run: Path, hostile: Element) -> None:
    assert len(hostile.all("script")) == 1
    assert not [image for image in hostile.all("img") if not str(image.attributes["src"]).startswith("data:image/")]
    assert [row.one("th").text for row in hostile.one("section", id="classes").one("tbody").all("tr")] == list(HOSTILE)
    files = {span.text.rpartition("/")[2] for span in hostile.all("span", class_="file")}
    assert "1<script>alert(2)<!--.png" in files
    assert "0\\udcff.png" in files  # a byte that is no UTF-8


def test_the_page_is_one_file_and_its_policy_allows_its_own_script_alone(digits_run: Path, page: Element) -> None:
    content = (digits_run / "report.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:image/|#)|url\(|@import|https?://", content)
    policy = str(page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"])
    digest = base64.b64encode(hashlib.sha256(page.one("script").text.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]


def test_the_augmentation_is_shown_where_there_is_one(page: Element, hostile: Element) -> None:
    images = page.one("section", id="augmentation").all("img")
    assert len(images) == 4 * 6
    original, *versions = (_pixels(image) for image in images[:6])
    assert all((version != original).any() for version in versions)
    assert "data.augment is off" in hostile.one("section", id="augmentation").text


def test_training_measures_what_evaluate_measures(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (digits_run / "report.html").read_bytes()
    flags = [f"--checkpoint={digits_run}", f"--output={tmp_path / 'mine.json'}"]
    assert evaluate.main([*flags, "--report=False"]) == 0
    assert "kept       what the network said of 359 of 359 images" in capsys.readouterr().out
    assert (tmp_path / "mine.json").read_bytes() == (digits_run / "evaluation-validation.json").read_bytes()
    assert evaluate.main([*flags, "--recompute"]) == 0
    assert (tmp_path / "mine.json").read_bytes() == (digits_run / "evaluation-validation.json").read_bytes()
    assert (tmp_path / "mine.html").read_bytes() == before.replace(b"evaluation-validation.json", b"mine.json")
    assert (digits_run / "report.html").read_bytes() == before


def test_a_run_without_its_records_has_a_report_that_says_so(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = shutil.copytree(digits_run, tmp_path / "bare")
    (bare / "metrics.jsonl").unlink()
    (bare / "result.json").write_text('{"status": ')
    (bare / "report.html").unlink()
    assert evaluate.main([f"--checkpoint={bare}"]) == 0
    assert "report     " in capsys.readouterr().out
    page = read_page(bare / "report.html")
    told = [line.text for line in page.one("section", id="run").all("p", class_="warn")]
    assert len(told) == 2
    assert told[0].startswith("metrics.jsonl")
    assert told[1].startswith("result.json")
    assert not page.all("section", id="curves")


@pytest.mark.long
def test_a_report_can_be_left_out_and_its_failure_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--exp=simple_cnn_digits", "--train.epochs=1", "--data.steps_per_epoch=2", "--train.tensorboard=False"]
    workdir = tmp_path / "run"
    assert train.main([*flags, f"--workdir={workdir}", "--report=False"]) == 0
    assert not (workdir / "report.html").exists()
    capsys.readouterr()

    def fail(*arguments: object) -> None:
        raise IsADirectoryError("report.html")

    monkeypatch.setattr(writing, "write", fail)
    assert train.main([*flags, f"--workdir={workdir}"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("report ")]
    assert len(told) == 1
    assert "not written: IsADirectoryError" in told[0]
    assert (workdir / "evaluation-validation.json").exists()


@pytest.mark.sample(1)
@pytest.mark.parametrize("classes", [30, 1000])
def test_many_classes_and_large_photographs_stay_below_5_megabytes(classes: int, tmp_path: Path) -> None:
    rng, n, size = np.random.default_rng(0), 1200, 128
    names = tuple(f"class number {i}" for i in range(classes))
    config = Config(model=ModelConfig(name="simple_cnn", weights="none", image_size=size, filters=(4,), strides=4))
    config = replace(config, data=replace(config.data, augment=AugmentConfig(horizontal_flip=True)))
    model = build(config.model, classes)
    run = trained_run.TrainedRun(tmp_path, 1, config, names, model, model.init(0), {})
    labels = rng.integers(0, classes, n, dtype=np.int32)
    noise = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)  # nothing compresses worse
    split = Split(tuple(f"validation/{i}.jpg" for i in range(n)), labels, ArrayImages(noise))
    predictions = Predictions(rng.normal(0, 1, (n, classes)).astype(np.float32), labels)
    path = report.write(run, "validation", split, predictions, summarise(predictions, names, split.ids))
    assert 1e6 < path.stat().st_size < 5e6
    page = read_page(path)
    shown = sum(len(dialog.all("figure")) for dialog in page.all("dialog"))
    assert shown >= 40
    if classes > 30:
        wrong = {(i, j) for i, j in zip(labels, predictions.predicted, strict=True) if i != j}
        assert len(page.all("dialog")) == 40
        assert f"Showing 40 of {len(wrong):,} pairs" in page.one("section", id="confusion").text
