"""launch/tpu_vm.sh supervise: from nothing to the end of training, through preemptions, with a bound."""

import re

import pytest

from tests.launch.conftest import Cloud, Finished, Repository, packages

FLAGS = ("--accelerator-type=v5litepod-8", "--spot", "--workdir=gs://bucket/cats", "--poll=0")
UP = ["create", "scp", "install", "preflight", "start"]  # in this order, among reads of the state


def supervise(cloud: Cloud, repository: Repository, *flags: str) -> Finished:
    place = (f"--repo={repository.folder}", f"--commit={repository.commits[-1]}")
    return cloud.tpu("supervise", *FLAGS, *place, *flags, "--", "--exp=mobilenet_ft")


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """One worker, to save time, where a test does not need two."""
    hosts(cloud, 1)
    return cloud


def hosts(cloud: Cloud, number: int) -> None:
    cloud.scenario["workers"] = number
    cloud.scenario["home"] |= packages(processes=number)


def actions(cloud: Cloud) -> list[str]:
    return [verb for verb in cloud.verbs() if verb not in ("describe", "status")]


def outcomes(cloud: Cloud, *lines: str) -> None:
    cloud.scenario["home"]["outcomes"] = "".join(f"{line}\n" for line in lines)


def test_from_nothing_to_the_end(cloud: Cloud, repository: Repository) -> None:
    hosts(cloud, 2)
    done = supervise(cloud, repository)
    assert done.code == 0, done.err
    assert actions(cloud) == [*UP, "scp", "scp"]  # at the end the logs of both workers
    assert "The TPU still costs: tpu_vm.sh delete --name=cats --project=my-project --zone=us-west4-a" in done.out
    assert (cloud.folder / "runs" / ".launch" / "cats" / "worker-1.log").exists()


def test_exit_code_143_starts_training_again_on_the_tpu_that_is_still_there(
    cloud: Cloud, repository: Repository
) -> None:
    outcomes(cloud, "143", "143", "0")
    done = supervise(cloud, repository)
    assert done.code == 0, done.err
    assert actions(cloud) == [*UP, "start", "start", "scp"]
    assert [line.partition("preempted: ")[2] for line in done.out.splitlines() if "preempted" in line] == [
        *("restart 1 of 10", "restart 2 of 10")
    ]


@pytest.mark.long
def test_a_tpu_that_is_taken_away_is_asked_for_again_and_set_up_from_the_beginning(
    cloud: Cloud, repository: Repository
) -> None:
    outcomes(cloud, "0")  # what the workers of each new TPU do
    cloud.scenario["lives"] = [["ACCEPTED", "ACTIVE"], ["PROVISIONING", "SUSPENDED"], ["ACTIVE"]]
    cloud.scenario["after_start"] = [["SUSPENDING", "SUSPENDED"], ["ACTIVE"]]
    done = supervise(cloud, repository)
    assert done.code == 0, done.err
    assert actions(cloud) == [*UP, "delete", "create", "delete", *UP, "scp"]
    assert "restart 2 of 10" in done.out


def test_restarts_are_bounded(cloud: Cloud, repository: Repository) -> None:
    outcomes(cloud, "143", "143", "143", "0")
    cloud.install(repository)
    done = supervise(cloud, repository, "--max-restarts=1")
    assert done.code == 143
    assert "--max-restarts=1 are used up; the same command again goes on from gs://bucket/cats" in done.err
    assert actions(cloud).count("start") == 2


def test_a_failure_of_training_is_not_tried_again(cloud: Cloud, repository: Repository) -> None:
    outcomes(cloud, "2", "0")
    cloud.install(repository)
    done = supervise(cloud, repository)
    assert done.code == 2
    assert "training failed with exit code 2" in done.err
    assert "still costs until delete" in done.err
    assert actions(cloud).count("start") == 1


def test_where_one_worker_is_preempted_the_failures_of_the_others_do_not_count(
    cloud: Cloud, repository: Repository
) -> None:
    hosts(cloud, 2)
    outcomes(cloud, "1", "0")
    cloud.install(repository)
    (cloud.home(1) / "outcomes").write_text("143\n0\n")
    done = supervise(cloud, repository)
    assert done.code == 0, done.err
    assert "restart 1 of 10" in done.out


def test_a_run_that_goes_on_is_watched_and_one_stopped_by_hand_is_left_alone(
    cloud: Cloud, repository: Repository
) -> None:
    outcomes(cloud, "hang")
    cloud.install(repository)
    assert cloud.tpu("run", "--workdir=gs://bucket/cats", "--", "--exp=mobilenet_ft").code == 0
    (cloud.folder / "calls.jsonl").unlink()
    cloud.scenario["stop_after_statuses"] = 1
    done = supervise(cloud, repository)
    assert done.code == 0, done.err
    assert "a run goes on: watching it" in done.out
    assert "stopped by hand" in done.out
    assert actions(cloud) == []


def test_a_tpu_that_somebody_deletes_is_not_asked_for_again(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["after_start"] = [["DELETING"]]
    done = supervise(cloud, repository)
    assert done.code == 1
    assert "cats is DELETING: somebody deletes it" in done.err
    assert actions(cloud).count("create") == 1


def test_a_spot_tpu_needs_a_run_directory_that_outlives_it(cloud: Cloud, repository: Repository) -> None:
    done = supervise(cloud, repository, "--workdir=runs/cats")
    assert done.code == 2
    assert "--workdir=runs/cats is on the TPU VM's own disk, which a preemption takes away" in done.err
    assert cloud.verbs() == []


def test_an_error_on_the_way_up_ends_it_with_that_error(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["create_error"] = "RESOURCE_EXHAUSTED: Quota limit exceeded"
    done = supervise(cloud, repository)
    assert done.code == 1
    assert "Quota limit exceeded" in done.err
    assert actions(cloud) == ["create"]


def test_dry_run_is_the_whole_plan(cloud: Cloud, repository: Repository) -> None:
    done = supervise(cloud, repository, "--dry-run")
    assert done.code == 0, done.err
    lines = [line.replace("\\ ", " ") for line in done.out.splitlines() if line.startswith("gcloud ")]
    assert all("--project=my-project --zone=us-west4-a --quiet" in line for line in lines)
    words = re.findall(r" (create|scp) | tpu_worker.sh (install|preflight|start)", "\n".join(lines))
    assert [first or second for first, second in words][:5] == UP
    assert not (cloud.folder / "calls.jsonl").exists()
