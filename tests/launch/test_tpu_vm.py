"""launch/tpu_vm.sh, command by command: what gcloud is given, what a second call does, what each failure says."""

import contextlib
import json
import os
import shlex
import signal
import subprocess

import pytest

from tests.launch.conftest import LAUNCH, TARGET, Cloud, Machine, Repository, calls, packages

CREATE = ("create", "--accelerator-type=v5litepod-8")
TRAIN = ("--", "--exp=mobilenet_ft", "--data.dataset=folder:gs://bucket/photos")
SSH = ["tpu-vm", "ssh", "cats"]


def test_create_asks_for_a_queued_resource_in_the_given_place(cloud: Cloud) -> None:
    done = cloud.tpu(*CREATE, "--spot", "--valid-until", "6h")
    assert (done.code, done.err) == (0, "Create request issued for: [cats]\n")
    assert calls(cloud.folder / "calls.jsonl")[-1] == [
        *("compute", "tpus", "queued-resources", "create", "cats", "--node-id=cats", "--accelerator-type=v5litepod-8"),
        *("--runtime-version=v2-alpha-tpuv5-lite", "--spot", "--valid-until-duration=6h"),
        *("--project=my-project", "--zone=us-west4-a", "--quiet"),
    ]


def test_the_environment_names_the_target_as_googles_pages_do(cloud: Cloud) -> None:
    place = {"TPU_NAME": "dogs", "PROJECT_ID": "p", "ZONE": "z", "ACCELERATOR_TYPE": "v4-8", "RUNTIME_VERSION": "mine"}
    assert cloud.tpu("create", target=(), **place).code == 0
    created = calls(cloud.folder / "calls.jsonl")[-1]
    assert created[4:9] == [
        "dogs",
        "--node-id=dogs",
        "--accelerator-type=v4-8",
        "--runtime-version=mine",
        "--project=p",
    ]
    assert "--spot" not in created


@pytest.mark.parametrize(
    ("accelerator", "runtime"),
    [("v3-8", "tpu-ubuntu2204-base"), ("v5p-16", "v2-alpha-tpuv5"), ("v6e-8", "v2-alpha-tpuv6e")],
)
def test_the_software_follows_from_the_accelerator_type(cloud: Cloud, accelerator: str, runtime: str) -> None:
    done = cloud.tpu("create", f"--accelerator-type={accelerator}", "--dry-run")
    assert f"--accelerator-type={accelerator} --runtime-version={runtime}" in done.out


def test_create_of_what_exists_does_nothing(cloud: Cloud) -> None:
    cloud.states("PROVISIONING")
    done = cloud.tpu(*CREATE)
    assert (done.code, done.out) == (0, "cats exists already: PROVISIONING\n")
    assert cloud.verbs() == ["describe"]


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED"])
def test_create_over_a_dead_request_says_to_delete_it_first(cloud: Cloud, state: str) -> None:
    cloud.states(state)
    done = cloud.tpu(*CREATE)
    assert done.code == 1
    assert f"cats exists and is {state}: tpu_vm.sh delete first" in done.err
    assert cloud.verbs() == ["describe"]


def test_a_quota_error_is_passed_on_with_where_to_look(cloud: Cloud) -> None:
    cloud.scenario["create_error"] = "RESOURCE_EXHAUSTED: Quota limit 'TPUV5sPreemptible' has been exceeded. Limit: 0"
    done = cloud.tpu(*CREATE)
    assert done.code == 1
    assert "Quota limit 'TPUV5sPreemptible' has been exceeded" in done.err
    assert "cats was not created" in done.err
    assert "https://cloud.google.com/tpu/docs/quota" in done.err


def test_no_permission_is_not_taken_for_absence(cloud: Cloud) -> None:
    cloud.scenario["describe_error"] = "PERMISSION_DENIED: Permission 'tpu.queuedResources.get' denied"
    for command in (CREATE, ("delete",), ("status",)):
        done = cloud.tpu(*command)
        assert done.code == 1
        assert "PERMISSION_DENIED" in done.err
        assert "cannot read the state of cats in my-project, us-west4-a" in done.err
    assert set(cloud.verbs()) == {"describe"}


def test_wait_reports_each_state_once_and_ends_when_active(cloud: Cloud) -> None:
    cloud.states("ACCEPTED", "WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")
    done = cloud.tpu("wait", "--poll=0")
    assert done.code == 0
    assert [line.rpartition(" ")[2] for line in done.out.splitlines()] == [
        *("ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")
    ]


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("FAILED", 1, "the request failed: There is no more capacity in the zone. tpu_vm.sh delete, then create"),
        ("SUSPENDED", 143, "cats was taken away (SUSPENDED): tpu_vm.sh delete, then create"),
        ("ABSENT", 1, "there is no cats in my-project, us-west4-a: tpu_vm.sh create"),
        ("WAITING_FOR_RESOURCES", 1, "cats is still WAITING_FOR_RESOURCES after 0 s"),
    ],
)
def test_wait_ends_with_what_to_do(cloud: Cloud, state: str, code: int, said: str) -> None:
    cloud.states(state)
    done = cloud.tpu("wait", "--poll=0", "--timeout=0")
    assert done.code == code
    assert said in done.err


def test_install_puts_exactly_the_commit_on_every_worker(cloud: Cloud, repository: Repository) -> None:
    cloud.states("ACTIVE")
    commit = repository.commits[0]
    done = cloud.tpu("install", f"--repo={repository.folder}", f"--commit={commit}")
    assert done.code == 0, done.err
    assert done.out == "".join(f"worker=t1v-w-{i} commit={commit} installed\n" for i in (0, 1))
    copied = ["tpu-vm", "scp", str(LAUNCH / "tpu_worker.sh"), str(LAUNCH / "detached.sh"), "cats:", "--worker=all"]
    command = shlex.join(["bash", "tpu_worker.sh", "install", str(repository.folder), commit])
    assert cloud.calls()[0] == copied
    assert cloud.calls()[1][:4] == [*SSH, "--worker=all"]
    assert shlex.split(cloud.calls()[1][4].removeprefix("--command=")) == shlex.split(command)
    for worker in (0, 1):
        assert (cloud.home(worker) / "cnn_jax" / "file").read_text() == "first"
        assert (cloud.home(worker) / "pip.log").read_text() == "-m|pip|install|--quiet|.[tpu,gcs,tensorflow]|"


def test_install_again_installs_nothing_and_another_commit_moves_to_it(cloud: Cloud, repository: Repository) -> None:
    cloud.states("ACTIVE")
    for commit in (repository.commits[0], repository.commits[0], repository.commits[1]):
        assert cloud.tpu("install", f"--repo={repository.folder}", f"--commit={commit}").code == 0
    assert (cloud.home(0) / "cnn_jax" / "file").read_text() == "second"
    assert (cloud.home(0) / "pip.log").read_text().count("install") == 2


def test_a_failed_pip_is_tried_again(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["home"]["pip_fails"] = ""
    command = ("install", f"--repo={repository.folder}", f"--commit={repository.commits[0]}")
    done = cloud.tpu(*command)
    assert done.code == 1
    assert "worker=t1v-w-0 error: pip install '.[tpu,gcs,tensorflow]' failed" in done.err
    assert "the same command again goes on from there" in done.err
    for worker in (0, 1):
        (cloud.home(worker) / "pip_fails").unlink()
    assert cloud.tpu(*command).code == 0


def test_a_commit_that_was_not_pushed_and_an_unreadable_repository_are_named(
    cloud: Cloud, repository: Repository
) -> None:
    missing = "0123456789" * 4
    done = cloud.tpu("install", f"--repo={repository.folder}", f"--commit={missing}")
    assert done.code == 1
    assert f"commit {missing} is not in {repository.folder}: git push it first" in done.err
    assert "cannot read the repository /nowhere" in cloud.tpu("install", "--repo=/nowhere", f"--commit={missing}").err


def test_a_worker_that_cannot_be_reached_fails_the_install(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["ssh_failure"] = {"worker": "1", "word": "install"}
    done = cloud.tpu("install", f"--repo={repository.folder}", f"--commit={repository.commits[0]}")
    assert done.code == 1
    assert "worker 1 failed with exit status 255" in done.err
    assert "install failed on a worker" in done.err


def test_preflight_prints_a_row_for_each_worker(cloud: Cloud, repository: Repository) -> None:
    cloud.install(repository)
    done = cloud.tpu("preflight", "--accelerator-type=v5litepod-8")
    assert done.code == 0, done.err
    head, *rows = [line.split() for line in done.out.splitlines()]
    assert head == [
        *("worker", "commit", "processes", "devices", "platform", "python"),
        *("jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint"),
    ]
    assert [row[0] for row in rows] == ["t1v-w-0", "t1v-w-1"]
    for row in rows:
        commit = repository.commits[-1][:12]
        assert row[1:5] == [commit, "2", "8", "tpu"]
        assert row[6:] == ["0.10.2", "0.10.2", "0.0.40", "0.12.8", "0.2.8", "0.12.8"]


def test_preflight_names_what_differs(cloud: Cloud, repository: Repository) -> None:
    cloud.install(repository)
    site = cloud.home(1) / "site"
    (site / "flax-0.12.8.dist-info").rename(site / "flax-0.12.9.dist-info")
    (site / "flax-0.12.9.dist-info" / "METADATA").write_text("Name: flax\nVersion: 0.12.9\n")
    (cloud.home(1) / "cnn_jax" / "file").write_text("edited by hand")
    done = cloud.tpu("preflight", "--accelerator-type=v5litepod-8")
    assert done.code == 1
    assert "0.12.9" in done.out
    assert "the workers differ in flax: tpu_vm.sh install again" in done.err
    assert "the workers differ in commit" in done.err
    assert "differ in jax:" not in done.err


def test_the_number_of_devices_follows_from_the_accelerator_type(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["workers"] = 1
    cloud.scenario["home"] |= packages(devices=8, processes=1)
    cloud.install(repository)
    for accelerator in ("v2-8", "v4-16", "v5p-16", "v6e-8"):
        assert cloud.tpu("preflight", f"--accelerator-type={accelerator}").code == 0
    assert "8 devices, expected 4" in cloud.tpu("preflight", "--accelerator-type=v4-8").err
    assert cloud.tpu("preflight", "--accelerator-type=v4-8", "--devices=8").code == 0


def test_preflight_fails_where_devices_or_workers_are_missing(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["home"] |= packages(devices=4, processes=1)
    cloud.install(repository)
    done = cloud.tpu("preflight", "--accelerator-type=v5litepod-8")
    assert done.code == 1
    assert "4 devices, expected 8" in done.err
    assert "2 workers answered, JAX counts 1 processes" in done.err
    (cloud.home(1) / "site" / "jax" / "__init__.py").write_text("raise RuntimeError('no TPU')")
    done = cloud.tpu("preflight", "--accelerator-type=v5litepod-8")
    assert done.code == 1
    assert "worker=t1v-w-1 error: JAX does not see the devices" in done.err


def test_run_gives_every_worker_the_same_arguments_unharmed(cloud: Cloud, repository: Repository) -> None:
    cloud.install(repository)
    odd = ["--exp=my experiment.py", '--data.dataset=folder:gs://b/it\'s $HOME; `ls` "*"', "--data.classes", "a b", ""]
    done = cloud.tpu("run", "--workdir=gs://bucket/cats", "--", *odd)
    assert done.code == 0, done.err
    cloud.end_runs()
    for worker in (0, 1):
        home = cloud.home(worker)
        there, *arguments = (home / "train.argv").read_text().removesuffix("\n").split("\n")
        assert there == str(home / "cnn_jax")
        assert arguments == ["-m", "cnn_jax.train", "--workdir=gs://bucket/cats", *odd]


def test_run_refuses_to_start_twice(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["home"]["outcomes"] = "hang\n"
    cloud.install(repository)
    assert cloud.tpu("run", "--workdir=gs://b/cats", *TRAIN).code == 0
    cloud.calls()
    (cloud.folder / "calls.jsonl").unlink()
    done = cloud.tpu("run", "--workdir=gs://b/cats", *TRAIN)
    assert done.code == 1
    assert "a run goes on already" in done.err
    assert cloud.verbs() == ["status"]
    status = cloud.tpu("status").out.splitlines()
    assert status[0] == "cats: ACTIVE"
    assert [line.split()[:2] for line in status[1:]] == [[f"worker=t1v-w-{i}", "state=running"] for i in (0, 1)]
    assert cloud.tpu("stop").out.splitlines() == [f"worker=t1v-w-{i} state=stopped code=143" for i in (0, 1)]
    assert cloud.tpu("stop").code == 0
    log = cloud.tpu("logs", "--worker=1").out
    assert "training, then hang" in log
    assert "exit code 143" in log


def test_a_start_that_fails_on_one_worker_is_taken_back_on_the_others(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["home"]["outcomes"] = "hang\n"
    cloud.install(repository)
    cloud.scenario["ssh_failure"] = {"worker": "1", "word": "start"}
    done = cloud.tpu("run", "--workdir=gs://b/cats", *TRAIN)
    assert done.code == 1
    assert "did not start on every worker" in done.err
    assert cloud.verbs() == ["status", "start", "stop"]
    assert [line.split()[1] for line in cloud.tpu("status").out.splitlines()[1:]] == ["state=stopped", "state=none"]


def test_several_workers_need_a_run_directory_that_they_share(cloud: Cloud, repository: Repository) -> None:
    cloud.install(repository)
    done = cloud.tpu("run", *TRAIN)
    assert done.code == 2
    assert "--workdir=runs/cats is on each of 2 workers' own disk: give gs://BUCKET/DIR" in done.err
    assert cloud.verbs() == ["status"]


def test_fetch_brings_the_run_directory_and_logs_home_again_and_again(cloud: Cloud, repository: Repository) -> None:
    cloud.scenario["workers"] = 1
    cloud.scenario["home"]["outcomes"] = "0\n0\n"
    cloud.install(repository)
    for _ in range(2):
        assert cloud.tpu("run", *TRAIN).code == 0
        cloud.end_runs()
        done = cloud.tpu("fetch", "--to=my runs")
        assert done.code == 0, done.err
        home = cloud.folder / "my runs"
        assert (home / "cats" / "result.json").read_text() == "{}\n"
        assert "exit code 0" in (home / ".launch" / "cats" / "worker-0.log").read_text()
    assert cloud.calls()[-1] == ["tpu-vm", "scp", "--recurse", "cats:cnn_jax/runs/cats", "my runs/", "--worker=0"]
    assert not (home / "cats" / "cats").exists()


def test_fetch_leaves_a_run_directory_on_gs_where_it_is(cloud: Cloud, repository: Repository) -> None:
    cloud.install(repository)
    assert cloud.tpu("run", "--workdir=gs://b/cats", *TRAIN).code == 0
    cloud.end_runs()
    done = cloud.tpu("fetch", "--workdir=gs://b/cats")
    assert done.code == 0
    assert "the run directory is gs://b/cats: nothing to fetch" in done.out
    assert sorted(p.name for p in (cloud.folder / "runs" / ".launch" / "cats").iterdir()) == [
        *("worker-0.log", "worker-1.log")
    ]
    assert not any("--recurse" in call for call in cloud.calls())


def test_delete_takes_the_nodes_along_and_can_be_said_again(cloud: Cloud) -> None:
    cloud.states("ACTIVE")
    done = cloud.tpu("delete", "--poll=0")
    assert (done.code, done.out) == (0, "cats is gone: it costs nothing any more\n")
    assert cloud.calls()[1] == ["queued-resources", "delete", "cats", "--force"]
    done = cloud.tpu("delete")
    assert (done.code, done.out) == (0, "cats is gone already\n")
    cloud.states("DELETING", "DELETING", "ABSENT")
    assert cloud.tpu("delete", "--poll=0").code == 0
    assert cloud.verbs().count("delete") == 1


def test_delete_that_does_not_end_says_that_it_may_still_cost(cloud: Cloud) -> None:
    cloud.states("DELETING")
    done = cloud.tpu("delete", "--poll=0", "--timeout=0")
    assert done.code == 1
    assert "cats is still DELETING and may still cost" in done.err


DRY = ("--dry-run", "--accelerator-type=v5litepod-8", "--repo=https://host/r.git", f"--commit={'a' * 40}")


@pytest.mark.parametrize(
    ("command", "verbs"),
    [
        ("create", ["describe", "create"]),
        ("wait", ["describe"]),
        ("install", ["scp", "install"]),
        ("preflight", ["preflight"]),
        ("run", ["status", "start"]),
        ("status", ["describe", "status"]),
        ("logs", ["logs"]),
        ("stop", ["stop"]),
        ("delete", ["describe", "delete"]),
    ],
)
def test_dry_run_prints_the_commands_and_runs_none(cloud: Cloud, command: str, verbs: list[str]) -> None:
    spoken = cloud.tpu(command, *DRY, "--poll=0", "--", "--exp=a b", "--name=it's")
    assert spoken.code == 0, spoken.err
    assert not (cloud.folder / "calls.jsonl").exists()
    assert not (cloud.folder / "workers").exists()
    printed = [shlex.split(line)[3:] for line in spoken.out.splitlines()]
    words = [call[1] if call[1] != "ssh" else call[-1].split()[2] for call in printed]
    assert words == verbs
    if command == "run":
        arguments = shlex.split(printed[-1][-1].removeprefix("--command="))
        assert arguments[2:] == ["start", "runs/cats", "--exp=a b", "--name=it's"]


def test_dry_run_needs_no_gcloud_and_its_lines_are_the_real_ones(cloud: Cloud, repository: Repository) -> None:
    arguments = ("install", f"--repo={repository.folder}", f"--commit={repository.commits[0]}")
    dry = cloud.tpu(*arguments, "--dry-run").out
    assert cloud.tpu(*arguments).code == 0
    real = [["gcloud", *call] for call in calls(cloud.folder / "calls.jsonl")]
    assert [shlex.split(line) for line in dry.splitlines()] == real
    (cloud.bin / "gcloud").unlink()
    assert cloud.tpu(*arguments, "--dry-run").out == dry


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("create", "--project=p", "--zone=z"), "no name: give --name=NAME or export TPU_NAME"),
        (("create", "--name=n", "--zone=z"), "no project: give --project=ID or export PROJECT_ID"),
        (("create", "--name=n", "--project=", "--zone=z"), "no project"),
        (("create", "--name=n", "--project=p"), "no zone: give --zone=ZONE"),
        (("create", *TARGET), "no accelerator type"),
        (("create", *TARGET, "--accelerator-type=v9-8"), "--accelerator-type=v9-8 has no known software"),
        (("create", *TARGET, "--accelerator-type=a100"), "--accelerator-type='a100' is not possible"),
        (("status", "--name=my tpu", "--project=p", "--zone=z"), "--name='my tpu' is not possible"),
        (("status", "--name=n", "--project=p q", "--zone=z"), "--project='p q'"),
        (("status", "--name=n;ls", "--project=p", "--zone=z"), "--name='n;ls' is not possible"),
        (("fetch", *TARGET, "--workdir=my runs"), "--workdir='my runs' is not possible"),
        (("wait", *TARGET, "--poll=soon"), "--poll=soon is not possible: it must be a whole number"),
        (("wait", *TARGET, "--nap=1"), "unknown flag --nap"),
        (("wait", *TARGET, "--poll"), "--poll needs a value"),
        (("run", *TARGET, "--exp=mobilenet_ft"), "unknown flag --exp: launch/tpu_vm.sh --help lists them"),
        (("run", *TARGET), "no experiment: end the command with -- --exp=NAME"),
        (("run", *TARGET, "--", "--exp=a", "--workdir=b"), "--workdir=b belongs before the --"),
        (("run", *TARGET, "exp"), "unexpected argument 'exp'"),
        (("install", *TARGET, "--commit=nonsense"), "--commit=nonsense is not a commit of"),
        (("destroy", *TARGET), "unknown command 'destroy'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cloud: Cloud, arguments: tuple[str, ...], named: str) -> None:
    command, *rest = arguments
    done = cloud.tpu(command, target=tuple(rest))
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith(f"error: {named}")
    assert done.err.count("\n") == 1
    assert not (cloud.folder / "calls.jsonl").exists()


def test_without_gcloud_the_fix_is_named(machine: Machine) -> None:
    done = machine.run("tpu_vm.sh", "status", *TARGET)
    assert done.code == 2
    assert done.err == (
        "error: gcloud is not installed: https://cloud.google.com/sdk/docs/install, then gcloud auth login\n"
    )


def test_ctrl_c_says_what_is_left(cloud: Cloud) -> None:
    cloud.states("PROVISIONING")
    (cloud.folder / "scenario.json").write_text(json.dumps(cloud.scenario))
    # What runs in the background may ignore the signal. A pause that bash is just beginning can miss it: a short one.
    command = ["bash", str(LAUNCH / "tpu_vm.sh"), "wait", *TARGET, "--poll=1"]
    waiting = subprocess.Popen(
        ["/usr/bin/env", "--default-signal=INT", *command],
        env={"PATH": str(cloud.bin), **cloud.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with waiting:
        assert waiting.stdout
        try:
            assert "PROVISIONING" in waiting.stdout.readline()
            os.killpg(waiting.pid, signal.SIGINT)  # as a terminal does
            rest, _ = waiting.communicate(timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(waiting.pid, signal.SIGKILL)
    assert waiting.returncode == 130
    assert "interrupted in wait: the same command again is safe; delete ends the costs" in rest


def test_help_names_every_command(machine: Machine) -> None:
    done = machine.run("tpu_vm.sh", "--help")
    assert done.code == 0
    for command in ("create", "wait", "install", "preflight", "run", "status", "logs", "stop", "fetch", "delete"):
        assert f"\n  {command} " in done.out
    assert machine.run("tpu_vm.sh").code == 2
