"""launch/slurm.sbatch as SLURM runs it, a copy elsewhere, with a fake srun and scontrol."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.launch.conftest import LAUNCH, Machine, calls, executable

JOB = {"SLURM_JOB_ID": "42", "SLURM_CPUS_PER_TASK": "8", "PYTHON": "my python"}


@pytest.fixture
def machine(machine: Machine) -> Machine:
    executable(machine.folder / "my python", "#!/usr/bin/env bash\n")
    machine.fake("scontrol")
    srun(machine, "raise SystemExit(0)")
    return machine


def srun(machine: Machine, end: str) -> None:
    record = {"argv": "sys.argv[1:]", "cpus": "os.environ['SRUN_CPUS_PER_TASK']"}
    fields = ", ".join(f"{key!r}: {value}" for key, value in record.items())
    write = f"open({str(machine.folder / 'srun.json')!r}, 'w').write(json.dumps({{{fields}}}))"
    executable(machine.bin / "srun", f"#!{sys.executable} -SE\nimport json, os, signal, sys, time\n{write}\n{end}\n")


def sbatch(machine: Machine, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    spool = machine.folder / "spool"
    spool.mkdir(exist_ok=True)
    script = shutil.copy(LAUNCH / "slurm.sbatch", spool / "slurm_script")
    variables = {"PATH": str(machine.bin), "HOME": str(machine.folder), **JOB, **environment}
    variables = {name: value for name, value in variables.items() if value}
    return subprocess.run(
        ["bash", script, *arguments], capture_output=True, text=True, env=variables, cwd=machine.folder, timeout=300
    )


def requeued(machine: Machine) -> list[list[str]]:
    return calls(machine.folder / "scontrol.jsonl")


def test_srun_starts_training_with_the_arguments_and_no_addresses(machine: Machine) -> None:
    done = sbatch(machine, "--exp=a b.py", "--workdir=/shared/it's", "--data.classes", "")
    assert (done.returncode, done.stderr) == (0, "")
    started = json.loads((machine.folder / "srun.json").read_text())
    assert started == {
        "argv": [
            *("--kill-on-bad-exit=0", "--wait=120", "my python", "-m", "cnn_jax.train"),
            *("--exp=a b.py", "--workdir=/shared/it's", "--data.classes", ""),
        ],
        "cpus": "8",
    }
    assert requeued(machine) == []


@pytest.mark.parametrize("code", [1, 2])
def test_a_failure_keeps_its_exit_code_and_is_not_requeued(machine: Machine, code: int) -> None:
    srun(machine, f"raise SystemExit({code})")
    assert sbatch(machine, "--exp=a").returncode == code
    assert requeued(machine) == []


def test_exit_code_143_requeues_within_a_bound(machine: Machine) -> None:
    srun(machine, "raise SystemExit(143)")
    done = sbatch(machine, "--exp=a")
    assert done.returncode == 143
    assert "restart 1 of 10" in done.stdout
    assert requeued(machine) == [["requeue", "42"]]
    done = sbatch(machine, "--exp=a", SLURM_RESTART_COUNT="3", MAX_RESTARTS="3")
    assert done.returncode == 143
    assert "MAX_RESTARTS=3 are used up" in done.stderr
    assert len(requeued(machine)) == 1


def test_the_signal_before_the_time_limit_reaches_srun_whose_exit_code_counts(machine: Machine) -> None:
    # SLURM signals the batch shell alone (B:); training then takes a while to save.
    end = f"""
def save(*_):
    time.sleep(0.3)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
os.kill(os.getppid(), {int(signal.SIGTERM)})
time.sleep(600)
sys.exit(5)"""
    srun(machine, end)
    done = sbatch(machine, "--exp=a")  # which gives up before srun's own pause is over
    assert done.returncode == 143
    assert requeued(machine) == [["requeue", "42"]]


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        ((), {}, "no experiment: sbatch launch/slurm.sbatch --exp=NAME"),
        (("--exp=a",), {"SLURM_JOB_ID": ""}, "not a SLURM job"),
        (("--exp=a",), {"PYTHON": ""}, ".venv/bin/python is not there: sbatch from the checkout"),
        (("--exp=a",), {"MAX_RESTARTS": "many"}, "MAX_RESTARTS=many is not possible"),
    ],
)
def test_wrong_use_is_one_line(
    machine: Machine, arguments: tuple[str, ...], environment: dict[str, str], named: str
) -> None:
    done = sbatch(machine, *arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {named}")
    assert done.stderr.count("\n") == 1
    assert not os.path.exists(machine.folder / "srun.json")


def test_the_job_asks_for_the_signal_to_the_batch_shell_and_to_be_requeued() -> None:
    directives = [line for line in (LAUNCH / "slurm.sbatch").read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --signal=B:TERM@120" in directives
    assert "#SBATCH --requeue" in directives
