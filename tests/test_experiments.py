"""Every shipped experiment, shrunk, trains and is evaluated; on real photographs the main one reaches its accuracy."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cnn_jax import evaluate, summarize, train
from cnn_jax.config.experiments import list_experiments, load_experiment
from cnn_jax.training import trained_run
from tests.models.keras_networks import own_cnn, saved
from tests.training import helpers

NAMES = sorted(list_experiments(), key=lambda name: (name != "simple_cnn_digits", name))
SLOW = (
    "mobilenet_shapes",
    "mobilenet_head",
    "mobilenet_sign_digits",
    "simple_cnn_cats_dogs",
    "vgg16_head",
    "vgg16_cats_dogs",
    "quickstart",
)
"""Like others that are run; the last is run as `make quickstart` too."""


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]
)
def test_every_experiment_trains_and_says_its_command(name: str, image_folder: Path, tmp_path: Path) -> None:
    config = load_experiment(name)
    assert config.name == name
    assert f"python -m cnn_jax.train --exp={name}" in list_experiments()[name].read_text()
    own = {"weights": "none"}
    if config.model.name == "keras":
        own = {"weights": str(saved(own_cnn(), tmp_path / "mine.keras")), "normalisation": "unit"}
    small = replace(
        config,
        model=replace(config.model, image_size=32, alpha=0.25, **own),
        data=replace(config.data, dataset=f"folder:{image_folder}", batch_size=8),
        train=replace(config.train, epochs=1),
    )
    assert helpers.train(small, tmp_path / "run").result["status"] == "completed"
    assert trained_run.load(tmp_path / "run").classes == ("blue", "red")


@pytest.mark.parametrize(
    ("flags", "total", "trainable"),
    [
        (["--exp=simple_cnn_cats_dogs", "--classes=2"], 420_802, 420_802),
        (["--exp=vgg16_cats_dogs", "--classes=2"], 134_268_738, 8_194),
        (["--exp=mobilenet_sign_digits", "--classes=10"], 3_239_114, 2_136_074),
        (["--exp=mobilenet_sign_digits", "--classes=10", "--train.freeze_until=conv_pw_10_bn"], 3_239_114, 1_873_930),
    ],
    ids=["own CNN", "VGG16", "MobileNet", "MobileNet, layers[:-23]"],
)
def test_the_experiments_have_the_parameters_of_the_course(
    flags: list[str], total: int, trainable: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Keras' `summary()` prints them there."""
    assert summarize.main([*flags, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["parameters"], summary["trainable"]) == (total, trainable)


def _fine_tune(dataset: Path, weights: Path, workdir: Path, *flags: str) -> dict:
    command = ["--exp=mobilenet_ft", f"--data.dataset=folder:{dataset}", f"--workdir={workdir}"]
    assert train.main([*command, f"--model.weights={weights}", *flags]) == 0
    return json.loads((workdir / "result.json").read_text())


@pytest.mark.long
@pytest.mark.optimized
def test_mobilenet_tells_cats_from_dogs(real_data: Path, real_weights: Path, tmp_path: Path) -> None:
    weights = real_weights / "mobilenet_7_5_224_tf.h5"
    flags = ("--model.alpha=0.75", "--train.epochs=2")
    result = _fine_tune(real_data / "cats_and_dogs", weights, tmp_path / "run", *flags)
    assert result["best"]["accuracy"] >= 0.93
    assert result["frozen_unchanged"] is True
    assert result["parameters"] == {"total": 1_818_098, "trainable": 1_202_690, "frozen": 615_408}
    assert evaluate.main([f"--checkpoint={tmp_path / 'run'}"]) == 0
    measured = json.loads((tmp_path / "run" / "evaluation-validation.json").read_text())
    assert measured["n"] == 200
    assert measured["accuracy"] == result["best"]["accuracy"]
