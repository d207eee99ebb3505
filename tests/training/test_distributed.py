"""Several devices and several processes: real ones, on CPU, with gloo between them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.data.array_batches import evaluation_rows, training_rows
from cnn_jax.errors import ConfigError
from cnn_jax.runtime import distributed
from cnn_jax.runtime.distributed import DistributedArguments
from cnn_jax.training.run.mesh import Mesh
from tests.conftest import free_port
from tests.training.helpers import assert_identical, final_state, metrics, stop_after, train
from tests.training.several_devices import FROZEN, WHOLE, taught

SAME_TO_ROUNDING = {"rtol": 1e-4, "atol": 2e-6}
"""Of two runs of eight steps on different numbers of devices: sums over a batch are made in another order."""


def _start(part: str, folder: Path, devices: int, port: int | None = None, number: int = 0) -> subprocess.Popen:
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        "CNN_JAX_NO_TUNING": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "tests.training.several_devices", part, str(folder), str(port or "none")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    root = Path(__file__).parents[2]
    return subprocess.Popen([*command, str(number)], env=environment, cwd=root, **pipes)


def _pair(part: str, folder: Path) -> list[tuple[int, str, str]]:
    """Exit code, standard output and errors of two processes with two devices each."""
    port = free_port()
    started = [_start(part, folder, 2, port, number) for number in (0, 1)]
    try:
        texts = [process.communicate(timeout=400) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *text) for process, text in zip(started, texts, strict=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def one(folder: Path) -> Path:
    """The whole run on one device."""
    train(WHOLE, folder / "one")
    return folder / "one"


@pytest.fixture(scope="module")
def eight(folder: Path, one: Path) -> dict[str, Any]:
    """What the process with eight devices says."""
    with pytest.MonkeyPatch.context() as patched:
        stop_after(5, patched)
        train(WHOLE, folder / "one_to_eight")
    process = _start("eight_devices", folder, 8)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    return json.loads((folder / "eight_devices-0.json").read_text())


@pytest.fixture(scope="module")
def pair(folder: Path) -> list[tuple[int, str, str]]:
    """How two processes end that train."""
    return _pair("two_processes", folder)


@pytest.fixture(scope="module")
def told(folder: Path, pair: list[tuple[int, str, str]]) -> list[dict[str, Any]]:
    """What each of the two says."""
    return _told("two_processes", folder, pair)


@pytest.fixture(scope="module")
def stopped(folder: Path) -> list[dict[str, Any]]:
    """What two processes say that go on after a signal to one of them."""
    return _told("two_stopped", folder, _pair("two_stopped", folder))


@pytest.fixture(scope="module")
def mistaken(folder: Path) -> list[tuple[int, str, str]]:
    """How the two processes end that make mistakes, of which the second is killed at last."""
    return _pair("two_mistaken", folder)


def _told(part: str, folder: Path, ended: list[tuple[int, str, str]]) -> list[dict[str, Any]]:
    files = [folder / f"{part}-{number}.json" for number in (0, 1)]
    assert all(file.exists() for file in files), ended
    return [json.loads(file.read_text()) for file in files]


@pytest.fixture(scope="module")
def again(folder: Path, told: list[dict[str, Any]], mistaken: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """How the two processes end that go on after the kill, and of which the first is killed at last."""
    return _pair("two_again", folder)


def _assert_same_run(first: Path, second: Path, config=WHOLE) -> None:
    """Losses, accuracies, parameters, statistics, running means and optimizer state, to rounding."""
    states = [final_state(config, workdir) for workdir in (first, second)]
    assert states[0].keys() == states[1].keys()
    for path, value in states[0].items():
        np.testing.assert_allclose(value, states[1][path], **SAME_TO_ROUNDING, err_msg=path)
    for line, other in zip(metrics(first), metrics(second), strict=True):
        assert line.keys() == other.keys()
        rounding = {"gradient_norm", "iterations"} if "l2" in line else {}  # of a solved classifier: what is left of 0
        for name, value in line.items():
            if name in rounding:
                continue
            assert other[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name


@pytest.mark.long
def test_four_devices_train_as_one(folder: Path, one: Path, eight: dict[str, Any]) -> None:
    _assert_same_run(one, folder / "four")


@pytest.mark.long
def test_data_divided_over_eight_devices_give_the_batches_of_one(
    folder: Path, one: Path, eight: dict[str, Any]
) -> None:
    _assert_same_run(one, folder / "resident")


@pytest.mark.long
@pytest.mark.parametrize("how", ["once", "inside"])
def test_eight_devices_learn_from_a_teacher_as_one(how: str, folder: Path, eight: dict[str, Any]) -> None:
    config = taught(folder)[how]
    train(config, folder / f"{how}_on_one")
    _assert_same_run(folder / f"{how}_on_one", folder / f"{how}_on_eight", config)


def test_two_processes_of_two_devices_train_as_one_device(folder: Path, one: Path, told: list[dict[str, Any]]) -> None:
    assert told == [{"status": "completed"}] * 2
    _assert_same_run(one, folder / "two")


@pytest.mark.long
def test_kept_features_are_the_same_in_two_processes(folder: Path, again: list[tuple[int, str, str]]) -> None:
    train(FROZEN, folder / "one_frozen")
    _assert_same_run(folder / "one_frozen", folder / "two_frozen", FROZEN)
    result = json.loads((folder / "two_frozen" / "result.json").read_text())
    assert result["features"]["layer"] == "pool1"
    assert result["frozen_unchanged"] is True


@pytest.mark.long
def test_a_step_takes_as_many_operations_on_several_devices(folder: Path, one: Path, eight: dict[str, Any]) -> None:
    results = [json.loads((folder / name / "result.json").read_text()) for name in ("one", "four")]
    first, second = (result["flops_per_step"]["step"] for result in results)
    assert second == pytest.approx(first, rel=0.1)


@pytest.mark.long
def test_evaluation_of_two_processes_counts_every_image_once(folder: Path, again: list[tuple[int, str, str]]) -> None:
    from cnn_jax import evaluate

    evaluation = json.loads((folder / "evaluation.json").read_text())
    evaluate.main(
        [f"--checkpoint={folder / 'two'}", f"--output={folder / 'alone.json'}", "--data.batch_size=7", "--recompute"]
    )
    alone = json.loads((folder / "alone.json").read_text())
    assert evaluation["n"] == np.sum(evaluation["confusion_matrix"]) == 359
    assert evaluation["confusion_matrix"] == alone["confusion_matrix"]
    assert evaluation["loss"] == pytest.approx(alone["loss"], rel=1e-6)


@pytest.mark.long
def test_a_checkpoint_crosses_between_eight_devices_and_one(folder: Path, one: Path, eight: dict[str, Any]) -> None:
    assert eight["stopped"] == 6
    train(WHOLE, folder / "eight_to_one")
    for name in ("one_to_eight", "eight_to_one"):
        _assert_same_run(one, folder / name)


@pytest.mark.long
def test_a_signal_to_one_process_stops_both_at_the_same_step_and_they_go_on_bit_exactly(
    folder: Path, told: list[dict[str, Any]], stopped: list[dict[str, Any]]
) -> None:
    for process in stopped:
        assert process["by"] == signal.SIGTERM
        assert process["stopped"] == 4  # sent in step 3, told beside step 4
    assert_identical(final_state(WHOLE, folder / "two"), final_state(WHOLE, folder / "stopped"))
    assert metrics(folder / "two") == metrics(folder / "stopped")


@pytest.mark.long
def test_an_error_of_one_process_is_one_of_both(folder: Path, mistaken: list[tuple[int, str, str]]) -> None:
    first, second = (process["errors"] for process in _told("two_mistaken", folder, mistaken))
    assert first[0] == second[0] == ["ConfigError", first[0][1]]
    assert "process 1 has another configuration than process 0" in first[0][1]
    assert first[1][0] == second[1][0] == "DataError"
    assert first[1][1] == f"in process 1: {second[1][1]}"
    assert first[2][0] == second[2][0] == "RunError"
    assert "put it where all processes see it" in first[2][1]
    assert first[3] == second[3]
    assert "18 does not divide over 4 devices of 2 processes; the nearest that do: 16, 20" in first[3][1]


def test_process_0_alone_prints(pair: list[tuple[int, str, str]], told: list[dict[str, Any]]) -> None:
    assert "2 epochs of 4 steps on 4 cpu devices of 2 processes" in pair[0][1]
    assert pair[1][1] == ""


@pytest.mark.long
def test_killing_one_of_two_processes_ends_the_other_and_the_restart_goes_on_bit_exactly(
    folder: Path, mistaken: list[tuple[int, str, str]], again: list[tuple[int, str, str]]
) -> None:
    code, _, errors = mistaken[0]
    assert mistaken[1][0] == -signal.SIGKILL
    assert code == 1, errors
    assert errors.count("error: ") == 1
    assert "another process of this run ended" in errors
    assert "Traceback" not in errors
    assert [json.loads((folder / f"two_again-{i}.json").read_text()) for i in (0, 1)] == [{"status": "completed"}] * 2
    assert "resume     at step 4 of 8" in again[0][1]
    assert_identical(final_state(WHOLE, folder / "two"), final_state(WHOLE, folder / "killed"))
    assert metrics(folder / "two") == metrics(folder / "killed")


@pytest.mark.long
def test_killing_the_process_where_the_others_meet_ends_them_too(again: list[tuple[int, str, str]]) -> None:
    code, _, errors = again[1]
    assert again[0][0] == -signal.SIGKILL
    assert code == 1, errors
    assert errors.startswith("error: ")
    assert errors.count("error: ") == 1
    assert "another process of this run ended" in errors
    assert "stack trace" not in errors
    assert "terminate called" not in errors


@pytest.mark.long
def test_what_is_frozen_is_never_reduced_over_the_devices(eight: dict[str, Any]) -> None:
    for point, statistics in (("conv2", 8), ("head", 0)):
        trainable, found = eight["collectives"][point]
        assert found.keys() == {"all-reduce"}
        # beside the gradients: sums of batch norm forwards and backwards, the loss, the number of right answers
        assert trainable <= found["all-reduce"] <= trainable + 6 * 4 * statistics + 16


# ---- joining ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator": "here"}, "HOST:PORT"),
        ({"coordinator": "here:80"}, "belong together"),
        ({"process_id": 0}, "belong together"),
        ({"coordinator": "here:80", "process_count": 2, "process_id": 2}, r"below distributed\.process_count=2"),
        ({"process_count": 0}, "at least 1"),
        ({"lost_seconds": 0}, "at least 1"),
        ({"start_seconds": 0}, "at least 1"),
    ],
)
def test_impossible_flags_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DistributedArguments(**arguments)


SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({**SLURM, "SLURM_NTASKS": "2"}, "slurm"),
        ({**SLURM, "SLURM_NTASKS": "1"}, None),
        ({**OPEN_MPI, "OMPI_MCA_orte_hnp_uri": "4096.0;tcp://10.0.0.1:34911"}, "ompi"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
    ],
)
def test_a_cluster_is_joined_where_the_environment_tells_of_one(
    environment: dict[str, str], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = None if found is None else {"cluster_detection_method": found}
    assert distributed._settings(DistributedArguments()) == settings
    assert distributed._settings(DistributedArguments(process_count=1)) is None


def test_processes_without_a_meeting_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")  # of Open MPI 5, which JAX does not know
    with pytest.raises(ConfigError, match=r"--distributed\.coordinator=HOST:PORT"):
        distributed.join(DistributedArguments())


def test_the_workers_of_a_tpu_pod_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from jax._src.clusters import cloud_tpu_cluster

    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("MEGASCALE_NUM_SLICES", "1")  # otherwise the metadata server is asked
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "w0,w1,w2,w3")
    assert distributed._settings(DistributedArguments()) == {"cluster_detection_method": "gketpu"}
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "w0")
    assert distributed._settings(DistributedArguments()) is None


# ---- batches ----


def test_a_batch_that_does_not_divide_over_the_devices_names_the_nearest_sizes() -> None:
    whole = Mesh.create()
    mesh = Mesh(4, whole.replicated, whole.sharded)
    mesh.check_batch_size(32, "data.batch_size")
    with pytest.raises(ConfigError, match=r"data\.batch_size=30 does not divide over 4 devices; .*: 28, 32$"):
        mesh.check_batch_size(30, "data.batch_size")
    with pytest.raises(ConfigError, match=r"the nearest that do: 4$"):
        mesh.check_batch_size(3, "data.batch_size")


def test_the_processes_parts_of_kept_features_are_the_batches() -> None:
    rows, labels = np.arange(22.0)[:, None], np.arange(22, dtype=np.int32)
    for make in (
        lambda *place: [b for b, _ in zip(training_rows([rows], labels, 8, 3, 0, *place), range(5), strict=False)],
        lambda *place: list(evaluation_rows(rows, labels, 8, *place)),
    ):
        parts = [make(process, 4) for process in range(4)]
        for whole, *some in zip(make(), *parts, strict=True):
            for key, value in whole.items():
                np.testing.assert_array_equal(value, np.concatenate([part[key] for part in some]))
