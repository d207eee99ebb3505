"""Knowledge distillation: the loss against NumPy in float64, and runs that learn from a teacher."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from cnn_jax.config import AugmentConfig, Config
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.training import resident, trained_run
from cnn_jax.training.loss import distillation_losses
from cnn_jax.training.setup import set_up
from cnn_jax.training.step import Distillation, StepOptions
from cnn_jax.training.teacher import load as teacher_of
from tests.models.keras_networks import images, own_cnn, randomise, saved
from tests.training import test_step
from tests.training.helpers import SMALL_CNN, SMALL_FROZEN, assert_identical, final_state, metrics, train, train_until
from tests.training.helpers import with_ as changed

PLAIN = replace(SMALL_CNN, data=replace(SMALL_CNN.data, augment=AugmentConfig()))
TEMPERATURE, WEIGHT = 3.0, 0.7


def with_teacher(config: Config, teacher: Path, **settings: Any) -> Config:
    return changed(config, train={"teacher": str(teacher), **settings})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wider network for larger images, whose classes are in another order."""
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    order = tuple("3147025896")
    config = changed(PLAIN, model={"filters": (8, 8), "image_size": 12}, data={"classes": order}, train={"epochs": 1})
    train(config, workdir)
    return workdir


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_the_distance_to_the_teacher_and_its_gradient(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits, target = rng.normal(0, 5, (2, 6, 10)).astype(np.float32)
    target[0] = logits[0]
    wide, other = logits.astype(np.float64) / temperature, target.astype(np.float64) / temperature
    expected = temperature**2 * (softmax(other, -1) * (log_softmax(other, -1) - log_softmax(wide, -1))).sum(-1)
    found, pull = jax.vjp(lambda x: distillation_losses(x, target, temperature), logits)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    (gradient,) = pull(np.ones(6, np.float32))
    np.testing.assert_allclose(gradient, temperature * (softmax(wide, -1) - softmax(other, -1)), atol=2e-5 * 20)


def taught_step(options: StepOptions, *taught: Any) -> tuple[float, dict[str, np.ndarray]]:
    """The loss of a step, and the parameters after it."""
    model = test_step.small_cnn()
    state, step = test_step.start(model, test_step.SGD, options=options)
    images, labels = next(test_step.batches(model))
    state, report = step(state, images, labels, *taught)
    return float(report["loss"]), {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(state)}


@pytest.mark.long
def test_a_step_with_the_teachers_logits_and_with_the_teacher_inside_is_that_of_the_formula() -> None:
    model, variables = test_step.small_cnn(), test_step.initial("small_cnn")
    images, labels = next(test_step.batches(model))
    teaching = jax.tree.map(lambda a: a * np.float32(1.5), variables)
    order = (2, 0, 3, 1)
    said = np.asarray(model.logits(teaching, images), np.float64)[:, order]
    own = np.asarray(model.logits(variables, images), np.float64)
    hard = -log_softmax(own, -1)[np.arange(len(labels)), labels]
    targets = softmax(said / TEMPERATURE, -1)
    soft = TEMPERATURE**2 * (targets * (log_softmax(said / TEMPERATURE, -1) - log_softmax(own / TEMPERATURE, -1))).sum(
        -1
    )
    expected = ((1 - WEIGHT) * hard + WEIGHT * soft).mean()
    by_row = Distillation(TEMPERATURE, WEIGHT)
    inside = Distillation(TEMPERATURE, WEIGHT, model, order)
    loss, after = taught_step(StepOptions(distillation=by_row), said.astype(np.float32))
    assert loss == pytest.approx(expected, rel=1e-5)
    for options, given in (
        (StepOptions(distillation=inside), teaching),
        (StepOptions(distillation=by_row, microbatches=2), said.astype(np.float32)),
        (StepOptions(distillation=inside, microbatches=2), teaching),
    ):
        other, found = taught_step(options, given)
        assert other == pytest.approx(loss, rel=1e-5)
        for name, value in after.items():
            np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-6, err_msg=name)
    alone, plain = taught_step(StepOptions(distillation=Distillation(TEMPERATURE, 0.0)), said.astype(np.float32))
    assert alone == pytest.approx(hard.mean(), rel=1e-5)
    assert any(not np.allclose(plain[name], after[name], atol=1e-6) for name in after)


CASES = {
    "asked once": PLAIN,
    "inside": SMALL_CNN,
    "mixed": changed(PLAIN, data={"augment": AugmentConfig(mixup=0.2, cutmix=1.0)}),
    "features": changed(SMALL_FROZEN, data={"augment": AugmentConfig()}, train={"feature_cache": "on"}),
}


@pytest.mark.long
@pytest.mark.parametrize(
    "case", ["features", *(pytest.param(case, marks=pytest.mark.slow) for case in ("inside", "asked once", "mixed"))]
)
def test_a_run_that_is_stopped_and_goes_on_ends_bit_for_bit_as_one_that_is_not(
    case: str, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = with_teacher(changed(CASES[case], train={"epochs": 2}), teacher)
    train(config, tmp_path / "whole")
    said = capsys.readouterr().out
    assert f"teacher    simple_cnn, 12 pixels, of {teacher}, step 6: " in said
    assert ("asked once for each of 1,438 training images" in said) == (case in ("asked once", "features"))
    assert ("resized to its 12 pixels" in said) == (case in ("inside", "mixed"))
    train_until(9, config, tmp_path / "stopped", monkeypatch)
    train(config, tmp_path / "stopped")
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, tmp_path / "stopped"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "stopped")
    alone = changed(config, train={"teacher": None})
    train(alone, tmp_path / "alone")
    assert metrics(tmp_path / "alone", "train")[0]["loss"] != metrics(tmp_path / "whole", "train")[0]["loss"]


@pytest.mark.long
def test_data_on_the_devices_are_taught_as_those_of_the_host(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for case in ("asked once", "mixed"):
        config = with_teacher(changed(CASES[case], train={"epochs": 1}), teacher)
        train(config, tmp_path / case / "host")
        with monkeypatch.context() as patched:
            patched.setattr(resident, "device_bytes", lambda: 2**30)
            train(config, tmp_path / case / "device")
        host, device = (metrics(tmp_path / case / name)[0]["loss"] for name in ("host", "device"))
        assert host == pytest.approx(device, rel=1e-5)


def test_a_teacher_that_cannot_be_is_one_message(teacher: Path, tmp_path: Path) -> None:
    def error_of(config: Config) -> str:
        with pytest.raises((ConfigError, RunError)) as raised:
            set_up(config, None)
        return str(raised.value)

    others = changed(PLAIN, data={"classes": ("1", "2", "3")})
    assert f"train.teacher={teacher} tells other classes apart: 3, 1, 4, " in error_of(with_teacher(others, teacher))
    assert "train.teacher=/gone: there is no such directory" in error_of(with_teacher(PLAIN, Path("/gone")))
    solved = changed(PLAIN, train={"epochs": 1, "freeze_until": "head"}, optimizer={"name": "lbfgs", "clip_norm": None})
    assert "it cannot learn from train.teacher" in error_of(with_teacher(solved, teacher))
    with pytest.raises(ConfigError, match=r"train\.feature_views=2 is not possible"):
        with_teacher(SMALL_CNN, teacher, feature_views=2)


@pytest.mark.long
def test_a_keras_file_is_a_teacher_and_says_what_keras_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(randomise(own_cnn("softmax", 10, size=12)), tmp_path / "mine.keras")
    config = with_teacher(changed(PLAIN, train={"epochs": 1}), file)
    with pytest.raises(RunError, match=r"train\.teacher=.* leaves open what images it takes\. .*Rescaling\(1 / 255"):
        set_up(config, None)
    layers = [keras.Input((12, 12, 3)), keras.layers.Rescaling(1 / 255), keras.models.load_model(file)]
    model = keras.Sequential(layers)
    saved(model, file)
    with pytest.raises(RunError, match=r"does not name its classes: put a labels\.txt"):
        set_up(config, None)
    (tmp_path / "labels.txt").write_text("\n".join("3147025896"))
    found = teacher_of(config, tuple("0123456789"))
    assert found is not None
    pixels = images(size=12)
    expected = np.asarray(model(pixels.astype(np.float32)))[:, ["3147025896".index(name) for name in "0123456789"]]
    said = np.asarray(found.run.model.logits(found.run.variables, pixels))[:, found.order]
    np.testing.assert_allclose(softmax(said, -1), expected, atol=1e-5)
    train(config, tmp_path / "run")
    assert "asked once for each of 1,438 training images" in capsys.readouterr().out


@pytest.mark.long
def test_a_run_goes_on_with_the_teacher_that_it_began_with_alone(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(teacher, tmp_path / "teacher")
    config = with_teacher(changed(PLAIN, train={"epochs": 2}), tmp_path / "teacher")
    train_until(9, config, tmp_path / "run", monkeypatch)
    assert trained_run.load(tmp_path / "run").meta["progress"]["teacher"]
    longer = json.loads((teacher / "config.json").read_text())
    shutil.rmtree(tmp_path / "teacher")
    other = changed(PLAIN, data={"classes": tuple(longer["data"]["classes"])}, train={"epochs": 1})
    train(other, tmp_path / "teacher")
    with pytest.raises(RunError, match=r"train\.teacher=.* is not the network that the run began with"):
        train(config, tmp_path / "run")
