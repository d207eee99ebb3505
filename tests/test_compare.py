"""The compare command: runs side by side from what their directories hold, against SciPy and a loop over names."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax

from cnn_jax import compare
from cnn_jax.config import Config
from cnn_jax.config.serialization import to_json
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.evaluation.metrics import Predictions
from cnn_jax.evaluation.record import Evaluation, summarise, write
from tests.report.reading import read_page, recorded, written
from tests.training.helpers import with_

CLASSES = ("cats", "dogs", "<b>birds")
CONFIG = Config(name="made")
RESULT: dict[str, Any] = {
    "status": "completed",
    "epochs": 2,
    "steps": 20,
    "wall_seconds": 12.5,
    "images_per_second": 321.0,
    "frozen_unchanged": True,
    "best": {"epoch": 2, "accuracy": 0.5, "loss": 0.9},
    "parameters": {"total": 100, "trainable": 40, "frozen": 60},
}


def said(seed: int, n: int, skill: float, classes: int = 3) -> Predictions:
    """Logits that name the right class the more often, the greater the skill."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % classes
    logits = rng.normal(size=(n, classes)) + skill * np.eye(classes)[labels]
    return Predictions(logits.astype(np.float32), labels)


def made(
    folder: Path,
    predictions: Predictions | None,
    config: Config = CONFIG,
    dataset: str = "folder:/photos",
    classes: tuple[str, ...] = CLASSES,
    ids: list[str] | None = None,
) -> Path:
    """A run directory, as far as a comparison reads it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(to_json(config))
    (folder / "result.json").write_text(json.dumps(RESULT))
    lines = [
        {"step": 10 * e, "epoch": e, "split": s, "loss": 1.5 / e, "accuracy": 0.2 * e, "images_per_second": 9.0}
        for e in (1, 2)
        for s in ("train", "validation")
    ]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    if predictions is not None:
        examples: Any = SimpleNamespace(ids=ids or [f"{i}.jpg" for i in range(len(predictions.labels))])
        record = {"dataset": dataset, "split": "validation", "checkpoint_step": 20, "flip_averaging": False}
        record |= summarise(predictions, classes, examples.ids)
        evaluation = Evaluation("validation", examples, predictions, record)
        write(evaluation, folder / "evaluation-validation.json", folder / "predictions-validation.npz")
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert compare.main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def row(text: str, first: str) -> list[str]:
    """The cells of the first line that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(first))
    return line.removeprefix(first).split()


def test_images_and_classes_are_matched_by_their_names_and_the_tests_are_scipys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = said(0, 90, 2.0), said(1, 90, 1.0)
    made(tmp_path / "one", one)
    order, renamed = np.random.default_rng(2).permutation(90)[:75], [2, 0, 1]  # other images, places and classes
    ids = [f"{i}.jpg" if i < 70 else f"other{i}.jpg" for i in order]
    labels = np.argsort(renamed)[other.labels[order]].astype(np.int32)
    shuffled = Predictions(other.logits[order][:, renamed], labels)
    made(tmp_path / "two", shuffled, classes=tuple(CLASSES[i] for i in renamed), ids=ids)
    text = printed(capsys, tmp_path / "one", tmp_path / "two")
    common = [i for i in order if i < 70]
    right = [p.logits[common].argmax(-1) == p.labels[common] for p in (one, other)]
    alone = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    nats = [
        -log_softmax(p.logits[common].astype(float), -1)[range(len(common)), p.labels[common]] for p in (one, other)
    ]
    paired = stats.ttest_rel(*nats)
    low, high = paired.confidence_interval(0.95)
    p = stats.binomtest(alone[0], sum(alone)).pvalue
    accuracy, *_, alone_each, mcnemar, holm, loss, least, most = row(text, "1 - 2")
    assert float(accuracy) == pytest.approx((alone[0] - alone[1]) / len(common), abs=5e-4)
    assert alone_each == f"{alone[0]}/{alone[1]}"
    assert mcnemar == holm == f"{p:.2g}"
    assert float(loss) == pytest.approx(nats[0].mean() - nats[1].mean(), abs=5e-4)
    assert (float(least), float(most)) == pytest.approx((low, high), abs=5e-4)
    assert f"1 - 2: on the {len(common)} images that both have, of 90 and 75" in text


def test_the_page_has_the_numbers_of_the_files_and_the_settings_that_differ(tmp_path: Path) -> None:
    slower = with_(CONFIG, optimizer={"learning_rate": 1e-5}, train={"frozen": ("conv1/.*", "<i>")})
    folders = [made(tmp_path / "a", said(0, 60, 2.0)), made(tmp_path / "b", said(1, 60, 0.5), slower)]
    page = tmp_path / "page.html"
    assert compare.main([str(tmp_path / "[ab]"), f"--output={page}"]) == 0
    found = read_page(page)
    for name in ("figures", "costs"):
        for folder, line in zip(folders, found.one("table", id=name).one("tbody").all("tr"), strict=True):
            numbers = line.all("data")
            assert len(numbers) >= 6
            for number in numbers:
                value = recorded(folder, str(number.attributes["data-source"]))
                assert float(str(number.attributes["value"])) == value
                shown, half = written(number.text)
                assert abs(shown - value) <= half * 1.001
    settings = found.one("table", id="settings").one("tbody").all("tr")
    assert [line.one("th").text for line in settings] == ["optimizer.learning_rate", "train.frozen"]
    assert [cell.text for cell in settings[1].all("td")] == ["", "conv1/.* <i>"]
    assert "optimizer.learning_rate" not in [term.text for term in found.all("dt")]
    assert len(found.all("svg", role="img")) == 5  # four curves and the calibration
    assert all(len(chart.all("polyline")) == 2 for chart in found.all("svg", role="img"))
    assert not found.all("i")
    assert not found.all("script")


def test_of_several_pairs_the_p_values_are_adjusted_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        made(tmp_path / str(number), said(number, 120, number))
    text = printed(capsys, tmp_path / "*")
    cells = [row(text, pair) for pair in ("1 - 2", "1 - 3", "2 - 3")]
    plain, adjusted = ([float(cell[place]) for cell in cells] for place in (-5, -4))
    smallest = min(range(3), key=plain.__getitem__)
    assert adjusted[smallest] == pytest.approx(min(3 * plain[smallest], 1), rel=0.06)
    assert all(adjusted[i] >= plain[i] for i in range(3))


def test_what_cannot_be_compared_is_said_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = said(0, 30, 1.0)
    made(tmp_path / "1", predictions)
    made(tmp_path / "2", predictions, dataset="folder:/others")
    made(tmp_path / "3", predictions, classes=("cats", "dogs", "fish"))
    made(tmp_path / "4", None)  # its accuracy is that of the best epoch
    damaged = made(tmp_path / "5", predictions)
    (damaged / "predictions-validation.npz").write_bytes(b"PK\x03\x04")
    made(tmp_path / "6", predictions, ids=[f"{i}.png" for i in range(30)])
    moved = made(tmp_path / "7", Predictions(predictions.logits, np.roll(predictions.labels, 1)))
    (moved / "result.json").write_text(json.dumps(RESULT | {"best": {"epoch": 1, "accuracy": 0.5, "loss": 0.9}}))
    unreadable = made(tmp_path / "8", predictions)
    (unreadable / "evaluation-validation.json").write_text('{"accuracy": "x", "accuracy_ci95": [0, 1]}')
    (tmp_path / "9").mkdir()
    text = printed(capsys, tmp_path / "*")
    for line in (
        "1 - 2, 2 - 3, 2 - 6, 2 - 7: not compared: they were measured on other images, folder:/others and folder:/p",
        "1 - 3, 3 - 6, 3 - 7: not compared: they tell other classes apart: <b>birds, fish are in one of them alone",
        f"it was not evaluated on its validation images: python -m cnn_jax.evaluate --checkpoint={tmp_path / '4'}",
        "predictions-validation.npz cannot be used, so nothing is tested: ",
        "1 - 6, 6 - 7: not compared: they have no image in common",
        "1 - 7: not compared: 30 images have another class in the other run",
        "step 20 was measured, and its best epoch ended with step 10: python -m cnn_jax.evaluate",
        f"left out   {tmp_path / '8'}: cannot be read: evaluation-validation.json is no record of an evaluation",
        f"left out   {tmp_path / '9'}: it is no run",
    ):
        assert line in text, line
    assert "4 - " not in text
    cells = next(line for line in text.splitlines() if line.startswith("4 ") and "0." in line).split()
    assert cells[1:5] == ["0.5000", "-", "0.9000", "-"]
    assert "Holm" not in text  # no pair is left


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ([], ConfigError, "which runs?"),
        (["a", "--output=x.png"], ConfigError, "--output=x.png: the name must end with .html"),
        (["a", "--output=gone/x.html"], ConfigError, "--output=gone/x.html: there is no folder gone"),
        (["a", "gone"], RunError, "gone: there is no such directory"),
        (["a", "a", "empty"], RunError, "nothing to compare: .*\n  left out: empty: it is no run"),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[str], kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "a", said(0, 9, 1.0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(kind, match=message):
        compare.main(arguments)


def test_runs_that_are_not_evaluated_and_many_runs_fit_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(7):
        config = with_(CONFIG, optimizer={"learning_rate": 10.0**-number})
        made(Path(f"run{number}"), said(number, 50, number / 2), replace(config, seed=number % 2))
    text = printed(capsys, "run*", "--output=page.html")
    assert "seed: 0 (1, 3, 5, 7); 1 (2, 4, 6)" in text
    assert "15 pairs are not printed; --output=compare.html has all" in text
    tables = [line for line in text.splitlines() if line[:1].isdigit()]
    assert max(map(len, tables)) <= 80
    assert len(read_page(Path("page.html")).one("table", id="pairs").one("tbody").all("tr")) == 21
