"""`train.quantize=int8`: a last phase with rounding, whose ranges the exported file has."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import cnn_jax
from cnn_jax import evaluate, export
from cnn_jax.errors import ConfigError
from cnn_jax.exporting.litert import layer_of
from cnn_jax.models import quantization
from cnn_jax.training import trained_run
from tests.training.helpers import SMALL_FROZEN, final_state, metrics, train, train_until, with_

QUANTIZED = with_(SMALL_FROZEN, train={"epochs": 3, "quantize": "int8"}, data={"steps_per_epoch": 3})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("quantize") / "run"
    result = train(QUANTIZED, workdir).result
    assert (result["best"]["epoch"], result["frozen_unchanged"]) == (3, True)
    return workdir


@pytest.mark.long
def test_the_last_epoch_learns_ranges_and_its_checkpoint_is_the_best(run: Path) -> None:
    loaded, before = trained_run.load(run), trained_run.load(run / "checkpoints" / "6")
    assert loaded.step == 9
    names = {f"relu{i}" for i in range(1, 5)}
    assert quantization.learned(loaded.model, loaded.variables).keys() == names, "of frozen layers too"
    assert quantization.learned(before.model, before.variables) == {}
    norms = {name for name in loaded.variables["batch_stats"] if name.startswith("bn")}
    for name in norms:  # the last epoch keeps them, so that they go into the kernels
        for leaf, value in loaded.variables["batch_stats"][name].items():
            np.testing.assert_array_equal(value, before.variables["batch_stats"][name][leaf])
    kernels = [each.variables["params"]["conv4"]["kernel"] for each in (before, loaded)]
    assert not np.array_equal(*kernels)


@pytest.mark.long
def test_the_run_is_evaluated_with_rounding_as_its_last_validation_was(run: Path) -> None:
    assert evaluate.main([f"--checkpoint={run}", "--report=False", "--recompute"]) == 0
    (last,) = (line for line in metrics(run, "validation") if line["epoch"] == 3)
    loaded = trained_run.load(run)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    rounded = loaded.model.logits(loaded.variables, pixels)
    assert not np.array_equal(rounded, quantization.plain(loaded.model).logits(loaded.variables, pixels))
    found = json.loads((run / "evaluation-validation.json").read_text())
    assert found["accuracy"] == last["accuracy"]


@pytest.mark.long
def test_it_goes_on_bit_by_bit_within_the_phase(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train_until(7, QUANTIZED, tmp_path / "run", monkeypatch).result["status"] == "interrupted"
    train(QUANTIZED, tmp_path / "run")
    expected, found = final_state(QUANTIZED, run), final_state(QUANTIZED, tmp_path / "run")
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.long
def test_the_file_has_the_ranges_that_training_has_found(run: Path, tmp_path: Path) -> None:
    """In a process of its own, as the command does it."""
    from ai_edge_litert.interpreter import Interpreter

    flags = [f"--checkpoint={run}", f"--output={tmp_path}", "--check-images=20", "--calibration-images=10"]
    assert export.main([*flags, "--format", "litert", "litert-int8"]) == 0
    interpreter = Interpreter(model_path=str(tmp_path / "small-int8.tflite"))
    scales: dict[str, list[float]] = {}
    for detail in interpreter.get_tensor_details():
        scales.setdefault(layer_of(detail["name"]), []).append(detail["quantization"][0])
    loaded = trained_run.load(run)
    for layer, (low, high) in quantization.learned(loaded.model, loaded.variables).items():
        assert pytest.approx((high - low) / 255, rel=1e-5) in scales[layer], layer
    digits = (load_digits().images[:20] / 16 * 255).round().astype(np.uint8)[..., None]
    rounded = cnn_jax.load(run)(digits).probabilities
    found = cnn_jax.load(tmp_path / "small-int8.tflite")(digits).probabilities
    np.testing.assert_allclose(found, rounded, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantize_epochs": 3, "head_epochs": 1}, "between 1 and 2"),
        ({"quantize_epochs": 0}, "between 1 and 3"),
    ],
)
def test_impossible_numbers_of_epochs_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=f"train.quantize_epochs=. is not possible: it must be {message}"):
        with_(QUANTIZED, train=changes)


@pytest.mark.parametrize("field", [{"ema_decay": 0.9}, {"early_stopping_epochs": 2}])
def test_what_goes_by_many_epochs_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"None with train\.quantize"):
        with_(QUANTIZED, train=field)


def test_a_classifier_that_is_solved_has_no_steps_to_round_in(tmp_path: Path) -> None:
    solved = with_(QUANTIZED, optimizer={"name": "lbfgs", "clip_norm": None}, train={"epochs": 1})
    with pytest.raises(ConfigError, match=r"train\.quantize: optimizer\.name=lbfgs takes no steps"):
        train(solved, tmp_path / "run")
