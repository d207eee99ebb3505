"""The solved classifier: scikit-learn's optimum, a strength chosen on training images, one epoch of a run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from cnn_jax.config import AugmentConfig
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.stream import evaluation_batches
from cnn_jax.errors import ConfigError, RunFailed
from cnn_jax.training import classifier, solver, trained_run
from cnn_jax.training.features.feature_cache import Features
from cnn_jax.training.learning_rate import find_learning_rate
from cnn_jax.training.run.logs import Reporter
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.setup import set_up
from tests.training.helpers import SMALL_CNN, final_state, metrics, stop_after, train, with_

PLAIN = replace(SMALL_CNN, data=replace(SMALL_CNN.data, augment=AugmentConfig(), steps_per_epoch=None))
SOLVED = with_(
    PLAIN,
    optimizer={"name": "lbfgs", "learning_rate": 1e-4, "clip_norm": None},
    model={"dropout": 0.0},
    train={"epochs": 1, "freeze_until": "head"},
)
"""Random convolutions and a solved classifier, on digits."""
HEAD_FIRST = with_(
    PLAIN,
    optimizer={"head_name": "lbfgs", "l2": 1e-3, "learning_rate": 1e-4},
    model={"dropout": 0.0},
    train={"epochs": 2, "head_epochs": 1, "ema_decay": 0.9},
    data={"split": (0.2, 0.1, 0.7)},
)


def _made_up(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rectified features of different sizes, and labels that depend on a few of them; classes that overlap."""
    random = np.random.default_rng(0)
    features = np.maximum(random.normal(size=(301, 40)) * random.uniform(0.1, 3, 40) + 0.5, 0).astype(np.float32)
    logits = features[:, :5] @ random.normal(size=(5, classes))
    return features, (logits + random.gumbel(size=logits.shape)).argmax(1)


def _scikit_learn(features: np.ndarray, labels: np.ndarray, l2: float, **settings: Any) -> LogisticRegression:
    c = (2 if len(np.unique(labels)) == 2 else 1) / (l2 * len(labels))  # of two classes, it has the weights of one
    model = LogisticRegression(C=c, tol=1e-10, max_iter=10_000, solver="newton-cg", **settings)
    return model.fit(features.astype(np.float64), labels)


def _probabilities(found: solver.Classifier, features: np.ndarray) -> np.ndarray:
    logits = features.astype(np.float64) @ np.asarray(found.kernel, np.float64) + np.asarray(found.bias, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.sample(1)
@pytest.mark.parametrize("l2", [1e-2, 1.0, 1e-5])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0]])
def test_the_optimum_is_scikit_learns(l2: float, weights: list[float] | None) -> None:
    features, labels = _made_up(3)
    expected = _scikit_learn(features, labels, l2, class_weight=None if weights is None else dict(enumerate(weights)))
    factors = None if weights is None else jnp.asarray(weights)
    found = solver.Problem(features, labels, 3, Mesh.create(), class_weights=factors).solution(l2)
    probabilities = _probabilities(found.classifier, features)
    np.testing.assert_allclose(probabilities, expected.predict_proba(features.astype(np.float64)), atol=1e-4)
    each = -np.log(probabilities[np.arange(len(labels)), labels])
    assert found.loss == pytest.approx(
        (each if weights is None else each * np.asarray(weights)[labels]).mean(), rel=1e-4
    )
    assert found.accuracy == pytest.approx((probabilities.argmax(1) == labels).mean())
    assert found.gradient_norm < 1e-4


@pytest.mark.long
def test_with_smoothed_labels_the_gradient_vanishes_too() -> None:
    features, labels = _made_up(3)
    found = solver.Problem(features, labels, 3, Mesh.create(), smoothing=0.3).solution(1e-2).classifier
    targets = 0.7 * np.eye(3)[labels] + 0.1
    rest = (_probabilities(found, features) - targets) / len(labels)
    np.testing.assert_allclose(features.T.astype(np.float64) @ rest + 1e-2 * np.asarray(found.kernel), 0, atol=1e-5)
    np.testing.assert_allclose(rest.sum(axis=0), 0, atol=1e-5)


@pytest.mark.long
def test_each_strength_is_tried_on_images_that_were_not_solved_for() -> None:
    features, labels = _made_up(2)
    out = solver.held_out(labels, seed=0)
    assert out.sum() == sum(np.bincount(labels) // 5)
    assert [out[labels == label].sum() for label in (0, 1)] == (np.bincount(labels) // 5).tolist()
    assert (out != solver.held_out(labels, seed=1)).any()
    tried = list(solver.strengths(solver.Problem(features, labels, 2, Mesh.create()), out))
    for trial in tried:
        model = _scikit_learn(features[~out], labels[~out], trial.l2)
        loss = log_loss(labels[out], model.predict_proba(features[out].astype(np.float64)))
        assert trial.loss == pytest.approx(loss, abs=1e-4)
    lowest = int(np.argmin([trial.loss for trial in tried]))
    assert len(tried) == min(lowest + 1 + solver.ENOUGH, len(solver.STRENGTHS))


def test_of_strengths_that_are_as_good_the_strongest_is_best() -> None:
    random = np.random.default_rng(0)
    lowest = random.uniform(0, 1, 100)
    noise = random.normal(size=100)
    noise -= noise.mean()  # its standard error is 0.1
    noise /= noise.std()
    given = [
        solver.Trial(l2, (lowest + more + noise * spread).astype(np.float32), solver.Classifier(None, None), 1)
        for l2, more, spread in ((1.0, 0.11, 1.0), (0.1, 0.09, 1.0), (0.01, 0.0, 0.0), (0.001, 0.01, 0.0))
    ]
    assert solver.best(given).l2 == 0.1
    assert solver.best(given[2:]).l2 == 0.01


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of SOLVED."""
    workdir = tmp_path_factory.mktemp("solved") / "run"
    assert train(SOLVED, workdir).result["status"] == "completed"
    return workdir


def test_a_run_ends_with_scikit_learns_classifier_of_its_features(solved: Path) -> None:
    run, job = trained_run.load(solved), set_up(SOLVED, solved / "split.json")
    model = job.model.part(0, len(job.model.layers) - 1)
    resize = Resize.of(SOLVED.data, 8)
    features, labels = {}, {}
    for name in ("train", "validation"):
        batches = list(evaluation_batches(job.dataset.splits[name], resize, 512))
        outputs = [np.asarray(model.outputs(run.variables, batch["image"]))[batch["mask"]] for batch in batches]
        features[name], labels[name] = np.concatenate(outputs), job.dataset.splits[name].labels
    line = metrics(solved, "train")[0]
    expected = _scikit_learn(features["train"], labels["train"], line["l2"])
    head = run.variables["params"]["head"]
    for name in features:
        found = _probabilities(solver.Classifier(head["kernel"], head["bias"]), features[name])
        np.testing.assert_allclose(found, expected.predict_proba(features[name].astype(np.float64)), atol=1e-4)
    assert line["accuracy"] == pytest.approx(expected.score(features["train"], labels["train"]))
    assert metrics(solved, "validation")[0]["accuracy"] == pytest.approx(
        expected.score(features["validation"], labels["validation"])
    )


def test_what_a_solved_run_writes_and_says(solved: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line, result = metrics(solved, "train")[0], json.loads((solved / "result.json").read_text())
    assert (line["epoch"], line["step"]) == (1, result["steps"])
    assert line["l2"] in solver.STRENGTHS
    assert line["iterations"] > 0
    assert "learning_rate" not in line
    assert result["frozen_unchanged"] is True
    assert result["flops_per_step"]["step"] is None
    train(with_(SOLVED, optimizer={"l2": 0.5, "learning_rate": 0.25}, model={"dropout": 0.5}), tmp_path / "told")
    said = capsys.readouterr().out
    assert "epoch 1 solves the classifier; not used: optimizer.learning_rate=0.25, model.dropout=0.5" in said
    assert "l2=0.5 (scikit-learn's C=0.00139): as configured" in said
    assert metrics(tmp_path / "told", "train")[0]["l2"] == 0.5


@pytest.mark.long
def test_the_initial_values_and_the_validation_images_decide_nothing() -> None:
    config = with_(SOLVED, data={"split": (0.2, 0.1, 0.7)})
    job = set_up(config, None)
    labels = job.dataset.splits["train"].labels
    rows = np.random.default_rng(0).normal(size=(len(labels), 16)).astype(np.float32)
    found = [
        classifier.solve(given, Features([rows], rows[:0]), Reporter(), lambda: False)  # has no validation features
        for given in (job, replace(job, variables=job.model.init(7)))
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].l2 == found[1].l2
    np.testing.assert_array_equal(found[0].classifier.kernel, found[1].classifier.kernel)


@pytest.mark.long
def test_the_views_of_an_image_are_held_out_together(monkeypatch: pytest.MonkeyPatch) -> None:
    job = set_up(with_(SOLVED, data={"split": (0.1, 0.1, 0.8)}), None)
    labels, seen = job.dataset.splits["train"].labels, []
    rows = np.random.default_rng(0).normal(size=(len(labels), 16)).astype(np.float32)
    strengths = solver.strengths
    monkeypatch.setattr(classifier, "strengths", lambda problem, out: (seen.append(out), strengths(problem, out))[1])
    twice = classifier.solve(job, Features([rows, rows], rows[:0]), Reporter(), lambda: False)
    once = classifier.solve(job, Features([rows], rows[:0]), Reporter(), lambda: False)
    np.testing.assert_array_equal(seen[0], np.tile(seen[1], 2))
    assert twice is not None
    assert once is not None
    assert twice.l2 == once.l2
    assert twice.loss == pytest.approx(once.loss, rel=1e-4)


@pytest.mark.long
def test_few_images_take_scikit_learns_strength_and_an_interrupt_a_bound_or_bad_features_end_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = set_up(with_(SOLVED, data={"split": (0.02, 0.02, 0.96)}), None)
    labels = job.dataset.splits["train"].labels
    rows = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
    assert (np.bincount(labels) < solver.HELD_OUT).all()
    found = classifier.solve(job, Features([rows], rows[:0]), Reporter(), lambda: False)
    assert found is not None
    assert found.l2 == 1 / len(labels)
    assert "short of the optimum" not in capsys.readouterr().out
    monkeypatch.setattr(solver, "ITERATIONS", 2)
    assert classifier.solve(job, Features([rows], rows[:0]), Reporter(), lambda: False).iterations == 2
    assert "short of the optimum" in capsys.readouterr().out
    many = set_up(with_(SOLVED, data={"split": (0.2, 0.1, 0.7)}), None)
    rows = np.ones((len(many.dataset.splits["train"]), 4), np.float32)
    assert classifier.solve(many, Features([rows], rows[:0]), Reporter(), lambda: True) is None
    rows[3, 2] = np.nan
    with pytest.raises(RunFailed, match="the features are not finite"):
        classifier.solve(many, Features([rows], rows[:0]), Reporter(), lambda: False)


@pytest.mark.long
def test_the_head_is_solved_first_and_the_rest_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(HEAD_FIRST, tmp_path / "run")
    first, second = metrics(tmp_path / "run", "train")
    assert (first["l2"], second["learning_rate"]) == (1e-3, pytest.approx(1e-4))
    assert second["loss"] < 1  # where no class is known it is 2.3
    assert "epoch 1 solves the classifier\n" in capsys.readouterr().out  # the others' settings are used later
    stop_after(first["step"] + 2, monkeypatch)
    stopped = train(HEAD_FIRST, tmp_path / "stopped").result
    assert stopped["steps"] == first["step"] + 2
    monkeypatch.undo()
    train(HEAD_FIRST, tmp_path / "stopped")
    whole, resumed = (final_state(HEAD_FIRST, tmp_path / name) for name in ("run", "stopped"))
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"freeze_until": "conv2"}}, "optimizer.name=lbfgs solves the classifier alone"),
        ({"train": {"frozen": ("head/bias",)}}, "optimizer.name=lbfgs solves the classifier alone"),
        ({"train": {"feature_cache": "off"}}, "on cached features: train.feature_cache=off"),
        ({"data": {"augment": AugmentConfig(rotation=10)}}, "on cached features: the images are augmented anew"),
        ({"train": {"feature_memory_megabytes": 0}}, "more than train.feature_memory_megabytes=0"),
        ({"train": {"loss": "focal"}}, "train.loss=focal is another"),
    ],
)
def test_what_cannot_be_solved_is_an_error(sections: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(with_(SOLVED, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_solved_classifier_has_no_learning_rate_to_find(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.name=lbfgs has no learning rate"):
        find_learning_rate(SOLVED, tmp_path / "rate", Reporter())
