"""The evaluate door: exact numbers from the run directory alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import evaluate
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import open_dataset
from cnn_jax.errors import ConfigError, DataError
from cnn_jax.training import runs
from tests.conftest import write_image
from tests.training.helpers import SMALL_CNN, train, with_


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("evaluate") / "run"
    train(SMALL_CNN, workdir)
    return workdir


def _evaluate(run: Path, *flags: str) -> dict:
    assert evaluate.main([f"--checkpoint={run}", *flags]) == 0
    return json.loads((run / "evaluation-validation.json").read_text())


def test_the_numbers_are_those_of_training_and_of_a_plain_loop_over_the_images(run: Path) -> None:
    measured = _evaluate(run)
    best = json.loads((run / "result.json").read_text())["best"]
    assert measured["accuracy"] == best["accuracy"]
    assert measured["loss"] == pytest.approx(best["loss"], rel=1e-6)
    loaded = runs.load(run)
    whole = open_dataset(loaded.config.data).splits["all"]
    ids = json.loads((run / "split.json").read_text())["splits"]["validation"]
    rows = [whole.ids.index(id_) for id_ in ids]
    images = np.stack([Resize(8)(whole.images.load(row)).numpy() for row in rows])
    logits = np.asarray(loaded.model.logits(loaded.variables, images), np.float64)
    labels = whole.labels[rows]
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert measured["n"] == len(ids) == 359
    assert measured["accuracy"] == (logits.argmax(-1) == labels).mean()
    assert measured["loss"] == pytest.approx(-np.log(probabilities[np.arange(359), labels]).mean(), rel=1e-6)


def test_the_numbers_do_not_depend_on_the_batch_size(run: Path) -> None:
    results = [_evaluate(run, f"--data.batch_size={size}") for size in (1, 7, 32, 359)]
    for result in results[1:]:
        assert result.pop("loss") == pytest.approx(results[0]["loss"], rel=1e-6)
        assert result == {key: value for key, value in results[0].items() if key != "loss"}


def test_a_run_is_evaluated_from_its_directory_alone_wherever_it_lies(run: Path, tmp_path: Path) -> None:
    expected = _evaluate(run)
    moved = tmp_path / "moved elsewhere"
    shutil.copytree(run, moved)
    for name in ("config.json", "classes.json", "metrics.jsonl", "result.json"):
        (moved / name).unlink()
    assert _evaluate(moved) == expected


def test_a_single_checkpoint_can_be_evaluated(run: Path) -> None:
    loaded = runs.load(run / "checkpoints" / "18")
    assert loaded.step == 18
    assert evaluate.main([f"--checkpoint={run / 'checkpoints' / '18'}", "--split=train"]) == 0
    assert json.loads((run / "evaluation-train.json").read_text())["n"] == 1438


def _colour_folder(root: Path, classes: tuple[str, ...]) -> Path:
    for i, name in enumerate(classes):
        for j in range(3):
            write_image(root / name / f"{j}.png", np.full((9, 9, 3), 40 * i + j, np.uint8))
    return root


def test_other_data_is_matched_by_class_name_whatever_its_order(run: Path, tmp_path: Path) -> None:
    folder = _colour_folder(tmp_path / "some", ("7", "2"))
    output = tmp_path / "out.json"
    flags = [f"--checkpoint={run}", f"--data.dataset=folder:{folder}", f"--output={output}"]
    assert evaluate.main(flags) == 0
    measured = json.loads(output.read_text())
    assert measured["classes"] == [str(i) for i in range(10)]
    assert [sum(row) for row in measured["confusion_matrix"]] == [0, 0, 3, 0, 0, 0, 0, 3, 0, 0]


def test_data_with_unknown_classes_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    folder = _colour_folder(tmp_path / "pets", ("cat", "7"))
    with pytest.raises(DataError, match=r"does not know: cat"):
        evaluate.main([f"--checkpoint={run}", f"--data.dataset=folder:{folder}"])


def test_a_split_that_is_not_there_lists_the_ones_that_are(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"--split=test: .* it has: train, validation"):
        evaluate.main([f"--checkpoint={run}", "--split=test"])


def test_the_table_names_each_class_and_the_interval(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _evaluate(run)
    printed = capsys.readouterr().out
    assert "95 % interval" in printed
    assert "precision" in printed
    assert "taken for" in printed


def test_the_run_of_a_folder_is_evaluated_with_its_recorded_validation_images(
    image_folder: Path, tmp_path: Path
) -> None:
    config = with_(SMALL_CNN, data={"dataset": f"folder:{image_folder}"}, train={"epochs": 1})
    train(config, tmp_path / "run")
    write_image(image_folder / "validation" / "red" / "new.png", np.zeros((9, 9, 3), np.uint8))
    assert _evaluate(tmp_path / "run")["n"] == 10
