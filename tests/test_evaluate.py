"""The evaluate command: exact numbers from the run directory alone."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest

import cnn_jax
from cnn_jax import compare, evaluate
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import Split, open_dataset
from cnn_jax.data.stream import Batch, evaluation_batches
from cnn_jax.errors import ConfigError, DataError, RunError
from cnn_jax.training import run_evaluation, trained_run
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run_evaluation import evaluate_run
from tests.conftest import write_image
from tests.training.helpers import SMALL_CNN, train, with_


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("evaluate") / "run"
    train(SMALL_CNN, workdir)
    return workdir


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tells two of the classes apart, and has them in an order that is not the alphabet's."""
    workdir = tmp_path_factory.mktemp("evaluate") / "pair"
    train(with_(SMALL_CNN, data={"classes": ("7", "2")}, train={"epochs": 1}), workdir)
    return workdir


def _evaluate(run: Path, *flags: str) -> dict:
    assert evaluate.main([f"--checkpoint={run}", "--report=False", "--recompute", *flags]) == 0
    return json.loads((run / "evaluation-validation.json").read_text())


def _probabilities(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, true classes and probabilities that an evaluation has left."""
    with np.load(path, allow_pickle=False) as saved:
        return list(saved["ids"]), saved["classes"][saved["labels"]], softmax(saved["logits"].astype(np.float64), 1)


def test_the_numbers_are_those_of_training_and_of_a_plain_loop_over_the_images(run: Path) -> None:
    measured = _evaluate(run)
    best = json.loads((run / "result.json").read_text())["best"]
    assert measured["accuracy"] == best["accuracy"]
    assert measured["loss"] == pytest.approx(best["loss"], rel=1e-6)
    loaded = trained_run.load(run)
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


def test_the_command_compare_reads_what_was_written(run: Path, pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = [_evaluate(folder) for folder in (run, pair)]
    capsys.readouterr()
    assert compare.main([str(run), str(pair)]) == 0
    printed = capsys.readouterr().out
    for record in measured:
        low, high = (f"{end:.3f}".removeprefix("0") for end in record["accuracy_ci95"])
        assert re.search(rf"^\d +{record['accuracy']:.4f}  {low}-{high}  {record['loss']:.4f} ", printed, re.MULTILINE)
    assert "1 - 2: not compared: they tell other classes apart: 0, 1, 3 and 5 more are in one of them alone" in printed


@pytest.mark.long
def test_the_numbers_do_not_depend_on_the_batch_size(run: Path) -> None:
    results = [_evaluate(run, f"--data.batch_size={size}") for size in (1, 7, 32, 359)]
    exact = ("n", "accuracy", "accuracy_ci95", "top5_accuracy", "macro", "weighted", "confusion_matrix")
    for result in results[1:]:
        assert {key: result[key] for key in exact} == {key: results[0][key] for key in exact}
        for key in ("loss", "roc_auc"):
            assert result[key] == pytest.approx(results[0][key], rel=1e-6)


def test_a_run_is_evaluated_from_its_directory_alone_wherever_it_lies(run: Path, tmp_path: Path) -> None:
    expected = _evaluate(run)
    moved = tmp_path / "moved elsewhere"
    shutil.copytree(run, moved)
    for name in ("config.json", "classes.json", "metrics.jsonl", "result.json"):
        (moved / name).unlink()
    assert _evaluate(moved) == expected


def test_a_single_checkpoint_can_be_evaluated(run: Path) -> None:
    loaded = trained_run.load(run / "checkpoints" / "18")
    assert loaded.step == 18
    assert evaluate.main([f"--checkpoint={run / 'checkpoints' / '18'}", "--split=train", "--report=False"]) == 0
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


@pytest.mark.long
def test_classes_in_another_order_are_matched_and_the_same_files_have_the_probabilities_of_predict(
    pair: Path, tmp_path: Path
) -> None:
    folder, output = _colour_folder(tmp_path / "some", ("2", "7")), tmp_path / "out.json"
    flags = [f"--checkpoint={pair}", f"--data.dataset=folder:{folder}", f"--output={output}"]
    assert evaluate.main(flags) == 0
    ids, true, probabilities = _probabilities(tmp_path / "out.npz")
    classifier = cnn_jax.load(pair)
    predicted = classifier([folder / name for name in ids])
    assert classifier.classes == ("7", "2")
    assert true.tolist() == [name.split("/")[0] for name in ids]
    np.testing.assert_allclose(probabilities, predicted.probabilities, atol=1e-6)
    measured = json.loads(output.read_text())
    assert measured["accuracy"] == np.mean([a == b for a, b in zip(predicted.classes, true, strict=True)])


@pytest.mark.long
def test_some_classes_of_the_runs_own_data_in_any_order(run: Path, tmp_path: Path) -> None:
    rows = np.asarray(_evaluate(run)["confusion_matrix"])
    results = []
    for order in (["2", "7"], ["7", "2"]):
        assert evaluate.main([f"--checkpoint={run}", f"--output={tmp_path / 'o.json'}", "--data.classes", *order]) == 0
        results.append(json.loads((tmp_path / "o.json").read_text()))
    assert results[0] == results[1]
    assert results[0]["confusion_matrix"] == np.where(np.isin(np.arange(10), (2, 7))[:, None], rows, 0).tolist()
    with pytest.raises(ConfigError, match=r"no class 'eleven'"):
        evaluate.main([f"--checkpoint={run}", "--data.classes", "2", "eleven"])


def test_two_runs_are_compared_on_the_same_examples_by_the_names_of_the_classes(run: Path, pair: Path) -> None:
    record = _evaluate(run, f"--compare={pair}", "--data.classes", "2", "7")
    ids, true, probabilities = _probabilities(run / "predictions-validation.npz")
    whole = open_dataset(trained_run.load(run).config.data).splits["all"]
    images = np.stack([whole.images.load(whole.ids.index(name)).numpy() for name in ids])
    first = np.asarray([str(i) for i in probabilities.argmax(1)]) == true
    second = np.asarray(cnn_jax.load(pair)(images).classes) == true
    found = record["comparison"]
    assert found["accuracy"] == second.mean()
    assert found["difference"] == pytest.approx(first.mean() - second.mean())
    alone = int((first & ~second).sum()), int((second & ~first).sum())
    assert (found["only_this_right"], found["only_other_right"]) == alone
    assert found["mcnemar_p_value"] == pytest.approx(binomtest(alone[0], sum(alone)).pvalue if sum(alone) else 1)
    trained = json.loads((pair / "split.json").read_text())["splits"]["train"]
    assert found["trained_on"] == len(set(ids) & set(trained)) > 0


def test_whether_a_run_was_trained_on_the_images_is_unknown_where_its_record_is_gone(
    run: Path, pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(pair, tmp_path / "other")
    (other / "split.json").unlink()
    record = _evaluate(run, f"--compare={other}", "--data.classes", "2", "7")
    assert record["comparison"]["trained_on"] is None
    assert f"unknown    whether {other} was trained on these images: its split.json is gone" in capsys.readouterr().out


def test_a_run_that_lacks_a_class_is_not_compared(run: Path, pair: Path) -> None:
    with pytest.raises(DataError, match=r"--compare=.*does not know the classes 0, 1, 3"):
        evaluate.main([f"--checkpoint={run}", f"--compare={pair}"])


@pytest.mark.long
def test_with_flip_averaging_probabilities_are_the_mean_over_both_images(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "flip.json"
    assert evaluate.main([f"--checkpoint={run}", "--flip-averaging", f"--output={output}"]) == 0
    ids, _, probabilities = _probabilities(tmp_path / "flip.npz")
    whole, classifier = open_dataset(trained_run.load(run).config.data).splits["all"], cnn_jax.load(run)
    images = np.stack([whole.images.load(whole.ids.index(name)).numpy() for name in ids])
    both = [classifier(each).probabilities for each in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(probabilities, np.mean(both, axis=0), atol=1e-6)
    assert json.loads(output.read_text())["flip_averaging"] is True


@pytest.mark.long
def test_images_that_cannot_be_read_are_an_error_or_left_out_by_name(run: Path, tmp_path: Path) -> None:
    folder, output = _colour_folder(tmp_path / "some", ("2", "7")), tmp_path / "out.json"
    (folder / "7" / "1.png").write_bytes(b"")
    flags = [f"--checkpoint={run}", f"--data.dataset=folder:{folder}", f"--output={output}"]
    with pytest.raises(DataError, match=r"7/1\.png cannot be read .*\n.* --data\.unreadable=skip"):
        evaluate.main(flags)
    assert not output.exists()
    assert evaluate.main([*flags, "--data.unreadable=skip"]) == 0
    measured = json.loads(output.read_text())
    assert (measured["n"], measured["unreadable"]) == (5, ["7/1.png"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output=out.txt"], r"--output=out\.txt: .*\.json"),
        (["--output=gone/out.json"], r"--output=gone/out\.json: there is no folder gone"),
        (["--data.batch_size=0"], r"data\.batch_size=0"),
        (["--data.classes", "7"], r"data\.classes=\('7',\)"),
    ],
)
def test_wrong_use_is_one_message(run: Path, flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate.main([f"--checkpoint={run}", *flags])


def test_a_run_without_its_record_of_splits_says_what_to_do(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "split.json").unlink()
    with pytest.raises(DataError, match=r"split\.json is gone: .* --data\.dataset"):
        evaluate.main([f"--checkpoint={tmp_path / 'copy'}"])


def test_what_the_network_said_before_is_not_computed_again(
    run: Path, pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = _colour_folder(tmp_path / "some", ("2", "7")), tmp_path / "out.json"
    ran: list[int] = []

    def counted(split: Split, *rest: object) -> Iterator[Batch]:
        ran.append(len(split))
        return evaluation_batches(split, *rest)

    def records(run: Path, *flags: str) -> tuple[dict, list[int], bool]:
        ran.clear()
        asked = [f"--checkpoint={run}", f"--data.dataset=folder:{folder}", f"--output={output}", "--report=False"]
        assert evaluate.main([*asked, *flags]) == 0
        return json.loads(output.read_text()), list(ran), "kept  " in capsys.readouterr().out

    monkeypatch.setattr(run_evaluation, "evaluation_batches", counted)
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    first = records(pair)
    again = records(pair)
    assert (first[1:], again[1:]) == (([6], False), ([], True))
    assert first[0] == again[0]
    assert records(pair, "--recompute") == (first[0], [6], False)
    assert records(pair, "--flip-averaging")[1] == [6]
    write_image(folder / "7" / "1.png", np.full((9, 9, 3), 200, np.uint8))
    write_image(folder / "7" / "4.png", np.full((9, 9, 3), 201, np.uint8))
    changed = records(pair)
    assert changed[1:] == ([2], True)
    assert changed[0] == records(pair, "--recompute")[0]
    others = [path for path in (run / "checkpoints").iterdir() if path.is_dir()]
    assert [records(other)[1] for other in others[:2]] == [[7], [7]]  # of one network, trained for other times


def test_a_network_that_gives_no_numbers_is_an_error(run: Path) -> None:
    loaded = trained_run.load(run)
    head = loaded.variables["params"]["head"]
    broken = {**loaded.variables, "params": {**loaded.variables["params"], "head": {**head, "bias": head["bias"] / 0}}}
    with pytest.raises(RunError, match=r"gives no numbers for 359 of 359 images"):
        evaluate_run(replace(loaded, variables=broken), Reporter())


def test_a_split_that_is_not_there_lists_the_ones_that_are(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"--split=test: .* it has: train, validation"):
        evaluate.main([f"--checkpoint={run}", "--split=test"])


def test_the_table_names_each_class_and_the_interval(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _evaluate(run)
    printed = capsys.readouterr().out
    assert "95 % interval" in printed
    assert "precision" in printed
    assert "taken for" in printed


@pytest.mark.long
def test_the_run_of_a_folder_is_evaluated_with_its_recorded_validation_images(
    image_folder: Path, tmp_path: Path
) -> None:
    config = with_(SMALL_CNN, data={"dataset": f"folder:{image_folder}"}, train={"epochs": 1})
    train(config, tmp_path / "run")
    write_image(image_folder / "validation" / "red" / "new.png", np.zeros((9, 9, 3), np.uint8))
    assert _evaluate(tmp_path / "run")["n"] == 10
