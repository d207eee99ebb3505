"""Training data on the devices: the same batches, the same steps."""

import jax
import numpy as np
import pytest

from cnn_jax.config import OptimizerConfig
from cnn_jax.data.rows import training_rows
from cnn_jax.training import resident
from cnn_jax.training.mesh import Mesh
from cnn_jax.training.optimizer import make_optimizer, make_schedule
from cnn_jax.training.resident import MOST_STEPS, Resident, fits
from cnn_jax.training.state import TrainState
from cnn_jax.training.step import make_train_step, train_step
from tests.training.test_step import NOTHING, initial, small_cnn

EXAMPLES, BATCH = 21, 4
"""Six steps a pass; the last of them begins the examples anew."""


def views(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, EXAMPLES, 8, 8, 3), dtype=np.uint8))


def start(mesh: Mesh):
    config, variables = OptimizerConfig(name="sgd", learning_rate=0.01), jax.tree.map(np.array, initial("small_cnn"))
    optimizer = make_optimizer(config, make_schedule(config, 100, 10), variables["params"])
    return mesh.replicate(TrainState.create(variables, optimizer, NOTHING)), optimizer


@pytest.mark.parametrize("count", [1, 2])
def test_steps_on_the_device_are_the_steps_of_batches_from_the_host(count: int) -> None:
    mesh, rows, labels = Mesh.create(), views(count), np.arange(EXAMPLES, dtype=np.int32) % 4
    state, optimizer = start(mesh)
    step = make_train_step(small_cnn(), optimizer, NOTHING, 0, mesh)
    expected, indices = [], []
    for _, batch in zip(range(14), training_rows(rows, labels, BATCH, 3), strict=False):
        state, report = step(state, *(mesh.put_batch(batch[key]) for key in ("image", "label")))
        expected.append([float(report["loss"]), float(report["gradient_norm"])])
        indices.append(batch["index"])
    held = Resident(rows, labels, BATCH, 3, mesh)
    other, _ = start(mesh)
    steps = held.steps(train_step(small_cnn(), optimizer, NOTHING, 0))
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
    steps = held.steps(train_step(small_cnn(), optimizer, NOTHING, 0))
    for most in (1, 2, MOST_STEPS + 7):
        state, _ = steps(state, *held.call(0, most).arguments)
    assert steps._cache_size() == 1


def test_rows_fit_where_their_share_of_the_memory_of_all_devices_is_large_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh, rows = Mesh.create(), views(2)
    assert not fits(rows, 1.0, mesh)  # of the host's own memory nothing is moved
    size = sum(view.nbytes for view in rows)
    monkeypatch.setattr(resident, "device_bytes", lambda: 2 * size)
    assert fits(rows, 0.5, mesh)
    assert not fits(rows, 0.49, mesh)
