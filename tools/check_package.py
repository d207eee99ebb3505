"""Build the package, install it away from its sources, and use it there.

    python tools/check_package.py                       (everything is installed anew; downloads some hundred megabytes)
    python tools/check_package.py --python=python3.13   (into another Python)
    python tools/check_package.py --light               (the wheel alone is installed, beside this Python's packages)

Builds dist/*.tar.gz, and the wheel of that. Both have to hold what git knows, and nothing else. The wheel is installed
into a new virtual environment, and the program `cnn-jax` trains and evaluates the experiment `quickstart` in an empty
folder; with `--light` a single step of a smaller one.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHORT = ("--exp=simple_cnn_digits", "--train.epochs=1", "--data.steps_per_epoch=1", "--report=False")
"""A single step of the smallest experiment."""


def main() -> None:
    """Build, compare with git, install, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the Python to install into")
    parser.add_argument("--light", action="store_true", help="no dependencies are installed, one step is trained")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cnn_jax_package_") as folder:
        built = Path(folder) / "dist"
        run(sys.executable, "-m", "build", "--quiet", f"--outdir={built}", str(ROOT))
        (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
        compare_with_git(sdist, wheel)
        programs = install(wheel, Path(folder) / "environment", given.python, given.light)
        use(programs, Path(folder), wheel, given.light)
        (ROOT / "dist").mkdir(exist_ok=True)
        for file in (sdist, wheel):
            file.replace(ROOT / "dist" / file.name)
            print(f"built    dist/{file.name}")


def run(*command: str, folder: Path = ROOT, code: int = 0) -> str:
    """Run a command without this project's own folders in its way; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != code:
        sys.exit(f"error: {' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def compare_with_git(sdist: Path, wheel: Path) -> None:
    """Stop where an archive lacks a file that git knows, or has another."""
    known = set(run("git", "ls-files", "-z").split("\0")) - {""}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()} - {"PKG-INFO"}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {f"cnn_jax/{name}" for name in known if name.startswith("experiments/")}
    wanted |= {name for name in known if name.startswith("cnn_jax/")}
    for archive, there, expected in ((sdist, in_sdist, known), (wheel, in_wheel, wanted)):
        if there != expected:
            lacks, more = sorted(expected - there), sorted(there - expected)
            sys.exit(f"error: {archive.name} lacks {lacks} and has {more}; `git status` tells what is not committed")
        print(f"contents {archive.name}: {len(there)} files, those of git")


def install(wheel: Path, environment: Path, python: str, light: bool) -> Path:
    """The folder of programs of a new virtual environment with the wheel in it."""
    run(python, "-m", "venv", str(environment))
    programs = environment / "bin"
    if light:
        run(str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel))
        (site,) = environment.glob("lib/python*/site-packages")
        (site / "beside.pth").write_text(sysconfig.get_path("purelib"))
    else:
        run(str(programs / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[tensorflow]")
    return programs


def use(programs: Path, folder: Path, wheel: Path, light: bool) -> None:
    """Train and evaluate as a user would, in an empty folder."""
    away = folder / "away"
    away.mkdir()
    program, version = str(programs / "cnn-jax"), wheel.name.split("-")[1]
    place = run(str(programs / "python"), "-c", "import cnn_jax; print(cnn_jax.__file__)", folder=away)
    if not Path(place.strip()).is_relative_to(programs.parent):
        sys.exit(f"error: {place.strip()} was imported, which is not what was installed")
    if (printed := run(program, "--version", folder=away).strip()) != f"cnn_jax {version}":
        sys.exit(f"error: the program says {printed!r}, the wheel {version!r}")
    run(program, "train", "--exp=no_such", folder=away, code=2)
    trained = away / "runs" / "first"
    flags = SHORT if light else ("--exp=quickstart",)
    print(run(program, "train", f"--workdir={trained}", *flags, folder=away), end="")
    if json.loads((trained / "result.json").read_text())["status"] != "completed":
        sys.exit("error: the run did not come to its end")
    if not light:
        run(program, "evaluate", f"--checkpoint={trained}", folder=away)
        if not (trained / "report.html").is_file():
            sys.exit("error: there is no report")
    tell = "import platform; print(platform.python_version())"
    print(f"ran      cnn-jax {version} on Python {run(str(programs / 'python'), '-c', tell).strip()}")


if __name__ == "__main__":
    main()
