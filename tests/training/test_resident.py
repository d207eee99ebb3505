"""Training data on the devices: the same batches, the same steps."""

import signal
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.config import AugmentConfig, CheckpointConfig, Config, OptimizerConfig
from cnn_jax.data.array_batches import training_rows
from cnn_jax.errors import RunFailed
from cnn_jax.training import resident
from cnn_jax.training.optimizer import make_optimizer
from cnn_jax.training.resident import MOST_STEPS, Resident, fits
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.schedule import make_schedule
from cnn_jax.training.state import Settings, TrainState
from cnn_jax.training.step import make_train_step, train_step
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, metrics, train, with_
from tests.training.test_step import NOTHING, initial, small_cnn

EXAMPLES, BATCH = 21, 4
"""Six steps a pass; the last of them begins the examples anew."""


def views(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, EXAMPLES, 8, 8, 3), dtype=np.uint8))


def start(mesh: Mesh):
    config, variables = OptimizerConfig(name="sgd", learning_rate=0.01), jax.tree.map(np.array, initial("small_cnn"))
    optimizer, settings = make_optimizer(config, variables["params"]), Settings.of(0, make_schedule(config, 100, 10))
    return mesh.replicate(TrainState.create(variables, optimizer, NOTHING, settings)), optimizer


@pytest.mark.sample(1)
@pytest.mark.parametrize("count", [1, 2])
def test_steps_on_the_device_are_the_steps_of_batches_from_the_host(count: int) -> None:
    mesh, rows, labels = Mesh.create(), views(count), np.arange(EXAMPLES, dtype=np.int32) % 4
    state, optimizer = start(mesh)
    step = make_train_step(small_cnn(), optimizer, NOTHING, mesh)
    expected, indices = [], []
    for _, batch in zip(range(14), training_rows(rows, labels, BATCH, 3), strict=False):
        state, report = step(state, *(mesh.put_batch(batch[key]) for key in ("image", "label")))
        expected.append([float(report["loss"]), float(report["gradient_norm"])])
        indices.append(batch["index"])
    held = Resident(rows, labels, BATCH, 3, mesh)
    other, _ = start(mesh)
    steps = held.steps(train_step(small_cnn(), optimizer, NOTHING))
    found, done, calls = [], 0, []
    while done < 14:
        call = held.call(done, min(5, 14 - done))
        assert call.first == done + 1
        other, reports = steps(other, *call.arguments)
        assert np.isnan(reports["loss"][call.steps :]).all()
        found += np.stack([reports["loss"], reports["gradient_norm"]], 1)[: call.steps].tolist()
        done += call.steps
        calls.append(call.steps)
    assert calls == [5, 1, 5, 1, 2]  # none goes over the end of a pass
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for number, chosen in enumerate(indices, start=1):
        np.testing.assert_array_equal(held.indices(number), chosen)
    assert int(other.step) == 14
    for one, same in zip(jax.tree.leaves(other), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-5, atol=1e-7)


def test_one_program_serves_calls_of_any_length() -> None:
    mesh, rows = Mesh.create(), views(1)
    held = Resident(rows, np.zeros(EXAMPLES, np.int32), BATCH, 0, mesh)
    state, optimizer = start(mesh)
    steps = held.steps(train_step(small_cnn(), optimizer, NOTHING))
    for most in (1, 2, MOST_STEPS + 7):
        state, _ = steps(state, *held.call(0, most).arguments)
    assert steps._cache_size() == 1


def test_rows_fit_where_their_share_of_the_memory_of_all_devices_is_large_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh, rows = Mesh.create(), views(2)
    assert not fits(rows, 1.0, mesh, features=False)  # of the host's own memory only features are worth it
    assert fits(rows, 1.0, mesh, features=True)
    assert not fits(rows, 0.0, mesh, features=True)
    size = sum(view.nbytes for view in rows)
    monkeypatch.setattr(resident, "FEATURE_BYTES", size - 1)
    assert not fits(rows, 1.0, mesh, features=True)
    monkeypatch.setattr(resident, "device_bytes", lambda: 2 * size)
    assert fits(rows, 0.5, mesh, features=False)
    assert not fits(rows, 0.49, mesh, features=True)


# ---- whole runs ----

MIXED = with_(SMALL_CNN, data={"augment": AugmentConfig(mixup=0.2), "steps_per_epoch": None}, train={"epochs": 2})
"""90 steps an epoch; images are mixed in the step, so they lie on the device as they are."""
VIEWS = with_(
    SMALL_CNN, train={"freeze_until": "conv2", "feature_cache": "on", "feature_views": 2, "epochs": 3}, data={}
)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """This machine's own memory counts as that of a device; the numbers of steps of the calls."""
    calls, call = list[int](), Resident.call

    def counted(self: Resident, step: int, most: int) -> resident.Call:
        found = call(self, step, most)
        calls.append(found.steps)
        return found

    monkeypatch.setattr(resident, "device_bytes", lambda: 2**30)
    monkeypatch.setattr(Resident, "call", counted)
    return calls


@pytest.mark.long
@pytest.mark.parametrize(
    "config", [pytest.param(MIXED, id="images"), pytest.param(VIEWS, id="features", marks=pytest.mark.slow)]
)
def test_a_run_is_that_of_batches_from_the_host(config: Config, tmp_path: Path, device: list[int]) -> None:
    train(with_(config, data={"device_memory_share": 0.0}), tmp_path / "host")
    assert device == []
    train(config, tmp_path / "device")
    assert device[:2] == [1, 1]
    assert max(device) > 1
    for line, other in zip(metrics(tmp_path / "host"), metrics(tmp_path / "device"), strict=True):
        assert other.pop("split") == line.pop("split")
        assert other == pytest.approx(line, rel=1e-4)


@pytest.mark.long
def test_a_stopped_run_goes_on_bit_exactly(tmp_path: Path, device: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(MIXED, checkpoint=CheckpointConfig(every_steps=40))
    train(config, tmp_path / "whole")
    counted = Resident.call

    def stopping(self: Resident, step: int, most: int) -> resident.Call:
        if step >= 100:
            signal.raise_signal(signal.SIGTERM)
        return counted(self, step, most)

    with monkeypatch.context() as patched:
        patched.setattr(Resident, "call", stopping)
        assert train(config, tmp_path / "run").result["status"] == "interrupted"
    device.clear()
    train(config, tmp_path / "run")
    assert sum(device) < 80
    assert_identical(final_state(config, tmp_path / "run"), final_state(config, tmp_path / "whole"))
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


@pytest.mark.long
def test_a_loss_that_is_not_finite_names_the_step_and_its_images(tmp_path: Path, device: list[int]) -> None:
    told = []
    for share in (0.0, 0.5):
        config = with_(MIXED, optimizer={"learning_rate": 1e30}, data={"device_memory_share": share})
        with pytest.raises(RunFailed) as error:
            train(config, tmp_path / str(share))
        told.append(str(error.value))
    assert device
    assert told[0] == told[1]
