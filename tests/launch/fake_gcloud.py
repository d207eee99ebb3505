"""A stand-in for gcloud: records its arguments, keeps one queued resource; its "workers" are folders of this machine.

The shapes of the answers (messages, exit codes, `value()` output) are those of Google Cloud SDK 528. `scenario.json`
beside the record says what goes wrong: see `Cloud` in conftest.py.
"""

import json
import os
import sys
from pathlib import Path

CLOUD = Path(os.environ["FAKE_CLOUD"])


def end(code: int, message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


def flag(arguments: list[str], name: str, default: str = "") -> str:
    return next((a.partition("=")[2] for a in arguments if a.startswith(f"--{name}=")), default)


def queued_resources(scenario: dict, action: str, arguments: list[str]) -> None:
    prefix = f"ERROR: (gcloud.compute.tpus.queued-resources.{action})"
    path = CLOUD / "states.json"
    states = json.loads(path.read_text())
    name = f"projects/{flag(arguments, 'project')}/locations/{flag(arguments, 'zone')}/queuedResources/{arguments[0]}"
    if action == "create":
        if scenario["create_error"]:
            end(1, f"{prefix} {scenario['create_error']}")
        path.write_text(json.dumps(scenario["lives"].pop(0)))
        (CLOUD / "scenario.json").write_text(json.dumps(scenario))
        end(0, f"Create request issued for: [{arguments[0]}]")
    if scenario["describe_error"]:
        end(1, f"{prefix} {scenario['describe_error']}")
    if states[0] == "ABSENT":
        end(1, f"{prefix} NOT_FOUND: Resource '{name}' was not found. This command is authenticated as me.")
    if action == "delete":
        import shutil  # here and below, where needed: most calls only read the state, and there are hundreds

        path.write_text('["ABSENT"]')
        shutil.rmtree(CLOUD / "workers", ignore_errors=True)
        end(0, f"Delete request issued for: [{arguments[0]}]")
    if "failedData" in flag(arguments, "format"):
        print("There is no more capacity in the zone")
        return
    print(states[0])
    if len(states) > 1:
        path.write_text(json.dumps(states[1:]))


def workers(arguments: list[str], scenario: dict) -> list[Path]:
    """The home folders of the workers that --worker names, made where the TPU is new."""
    homes = [CLOUD / "workers" / f"t1v-w-{i}" for i in range(scenario["workers"])]
    for home in homes:
        if not home.exists():
            home.mkdir(parents=True)
            for name, text in scenario["home"].items():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_text(text)
    which = flag(arguments, "worker", "0")
    return homes if which == "all" else [homes[int(which)]]


def ssh(scenario: dict, arguments: list[str]) -> None:
    import subprocess

    codes = []
    command = flag(arguments, "command")
    path = CLOUD / "states.json"
    for home in workers(arguments, scenario):
        print(f"SSH: Attempting to connect to worker {home.name[-1]}...", file=sys.stderr)
        failing = scenario["ssh_failure"]
        if failing and failing["worker"] == home.name[-1] and failing["word"] in command.split():
            print("ssh: connect to host 10.0.0.2 port 22: Connection refused", file=sys.stderr)
            code = 255
        else:
            tools = f"{CLOUD / 'worker_bin'}:{os.environ['PATH']}"
            # sshd gives the words of the command, joined with blanks, to the login shell.
            words = " ".join(command.split(" "))
            code = subprocess.run(["bash", "-c", words], env={"HOME": str(home), "PATH": tools}, cwd=home).returncode
        if code:
            message = f"##### Command execution on worker {home.name[-1]} failed with exit status {code}. Continuing."
            print(message, file=sys.stderr)
        codes.append(code)
    if " status" in command and scenario["stop_after_statuses"] is not None:
        if scenario["stop_after_statuses"] == 0:  # somebody says tpu_vm.sh stop meanwhile
            for home in workers(["--worker=all"], scenario):
                subprocess.run(["bash", home / "detached.sh", "stop", home / "cnn_jax_run"], stdout=subprocess.DEVNULL)
        scenario["stop_after_statuses"] -= 1
        (CLOUD / "scenario.json").write_text(json.dumps(scenario))
    if " start " in f" {command} " and scenario["after_start"]:
        path.write_text(json.dumps(scenario["after_start"].pop(0)))
        (CLOUD / "scenario.json").write_text(json.dumps(scenario))
    sys.exit(next((code for code in codes if code), 0))


def scp(scenario: dict, arguments: list[str]) -> None:
    import shutil

    *sources, target = [a for a in arguments if not a.startswith("--")]
    copy = shutil.copytree if "--recurse" in arguments else shutil.copy
    for home in workers(arguments, scenario):
        for source in sources:
            if target.endswith(":"):
                shutil.copy(source, home)
                continue
            there = home / source.partition(":")[2]
            here = Path(target) / there.name if "--recurse" in arguments else Path(target)
            if not there.exists():
                end(1, f"scp: {there.name}: No such file or directory")
            copy(there, here, **({"dirs_exist_ok": True} if "--recurse" in arguments else {}))


def main(argv: list[str]) -> None:
    with (CLOUD / "calls.jsonl").open("a") as record:
        record.write(json.dumps(argv) + "\n")
    scenario = json.loads((CLOUD / "scenario.json").read_text())
    if argv[:3] == ["compute", "tpus", "queued-resources"]:
        queued_resources(scenario, argv[3], argv[4:])
    elif argv[:4] == ["compute", "tpus", "tpu-vm", "ssh"]:
        ssh(scenario, argv[4:])
    elif argv[:4] == ["compute", "tpus", "tpu-vm", "scp"]:
        scp(scenario, argv[4:])
    else:
        end(2, f"ERROR: (gcloud) Invalid choice: {argv}")


main(sys.argv[1:])
