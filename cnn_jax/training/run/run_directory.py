"""The run directory: what makes a directory a run, and how a run is read back."""

import functools
import glob
import importlib.metadata
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from cnn_jax.config import Config, differences
from cnn_jax.config.serialization import from_json, to_json
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.io.writing import is_leftover, is_remote, write_atomically
from cnn_jax.training.run import damage, lock
from cnn_jax.training.run.checkpoints import Checkpoints, Meta, whole_steps
from cnn_jax.training.run.lock import Lock

VERSIONED = ("cnn_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow", "tensorflow-cpu", "numpy")


def is_run(workdir: Path) -> bool:
    """Whether a run was ever begun there; RunError where that cannot be known."""
    try:
        return (workdir / "config.json").exists() or bool(whole_steps(workdir / "checkpoints"))
    except OSError as error:
        raise _unreadable(workdir, error) from error


def check(workdir: Path, config: Config) -> bool:
    """Whether `workdir` holds a run that can go on, False where this one begins.

    A run that stopped before its first checkpoint has nothing to lose: it begins anew, with any configuration.

    Raises:
        RunError: the directory holds a run with another configuration (the differences are listed) or other files.
    """
    if glob.has_magic(str(workdir if is_remote(workdir) else workdir.absolute())):
        raise RunError(
            f"--workdir={workdir}: with [, * or ? in the path, Orbax writes checkpoints that it cannot find again; "
            "give another"
        )
    if is_remote(workdir):
        from cnn_jax.io.remote import require_checkpoint_client

        require_checkpoint_client(workdir)
    try:
        if not _can_go_on(workdir):
            return False
        changed = differences(recorded_config(workdir, config), config)
    except OSError as error:
        raise _unreadable(workdir, error) from error
    _refuse(workdir, changed)
    return True


def _refuse(workdir: Path, changed: list[str]) -> None:
    """Raise RunError for a run with another configuration, if there are differences."""
    if changed:
        raise RunError(
            f"{workdir} holds a run with another configuration (old -> new):\n"
            + "".join(f"    {line}\n" for line in changed)
            + "  Give another --workdir, or the flags of that run to go on with it"
        )


def _can_go_on(workdir: Path) -> bool:
    """Whether there is a run with checkpoints; RunError where there are other files."""
    if whole_steps(workdir / "checkpoints"):
        return True
    foreign = not (workdir / "config.json").exists() and workdir.exists()
    if foreign and (not workdir.is_dir() or any(_is_foreign(item.name) for item in workdir.iterdir())):
        raise RunError(f"--workdir={workdir} exists and is not a run directory: give another")
    return False


def _unreadable(workdir: Path, error: OSError) -> RunError:
    about_a_part = isinstance(error, NotADirectoryError | PermissionError) and error.filename
    part = Path(error.filename) if about_a_part else workdir
    what = "" if part == workdir else f"{part.name}: "
    return RunError(f"--workdir={workdir} cannot be read: {what}{error.strerror}")


def recorded_config(workdir: Path, expected: Config) -> Config:
    """The configuration of a run with checkpoints: of a checkpoint where config.json is damaged, or not as expected.

    Raises:
        RunError: it is nowhere to be read.
    """
    found = None
    try:
        found = damage.require_whole(workdir / "config.json")
        if not differences(found, expected):
            return found
    except (OSError, ValueError, ConfigError):
        pass  # `mend` moves it away, and says why
    try:
        return from_json(json.dumps(recorded_meta(workdir).get("config")), f"the newest checkpoint of {workdir}")
    except RunError:
        if found is None:
            raise
        return found


def recorded_meta(workdir: Path) -> Meta:
    """The metadata of the newest checkpoint that can be read; RunError without any."""
    with Checkpoints(workdir / "checkpoints", reading=True) as checkpoints:
        reason = "there are none"
        for step in reversed(checkpoints.steps()):
            try:
                return checkpoints.meta(step)
            except RunError as error:
                reason = str(error)
    raise RunError(f"no checkpoint of {workdir} can be read; give another --workdir to begin anew: {reason}")


def _is_foreign(name: str) -> bool:
    """Whether a file of this name is none that a start leaves which is killed before it has written config.json."""
    return name != lock.FILE and not is_leftover(name)


def create(workdir: Path, config: Config, goes_on: bool, held: Lock, say: Callable[[str], None]) -> None:
    """Make `workdir` the directory of this run, and of this process as long as the lock is held.

    Args:
        goes_on: what `check` found.
        say: is told of what is damaged there, and moved.

    Raises:
        RunError: it cannot be written, or another process trains in it, or has since `check`.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        held.take()
        if _can_go_on(workdir) != goes_on:  # `check` may ask all processes
            _refuse(workdir, differences(damage.require_whole(workdir / "config.json"), config))
            raise RunError(f"--workdir={workdir}: another run began there a moment ago; start again to go on with it")
        damage.mend(workdir, say)
        path = workdir / "config.json"
        if goes_on and path.exists() and differences(damage.require_whole(path), config):
            damage.move(path, "it is not the configuration that the checkpoints have", say)
        write_atomically(workdir / "config.json", to_json(config))
    except OSError as error:
        raise RunError(f"--workdir={workdir} cannot be written: {error.strerror}") from error


def require_visible(workdir: Path) -> None:
    """Raise RunError where this process does not see the run directory that process 0 has made."""
    if not (workdir / "config.json").exists():
        raise RunError(f"--workdir={workdir} is not the folder that process 0 sees: put it where all processes see it")


@functools.cache
def versions() -> dict[str, str]:
    """The installed versions of the packages that results depend on."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit() -> str | None:
    """The commit of this package's checkout, with a + where files differ from it; None outside a checkout."""
    folder = Path(__file__).parents[3]
    if not (folder / ".git").exists():
        return None
    try:
        command = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def directory(path: Path) -> Path:
    """The run directory that `path` is, or whose checkpoint it is; RunError where it is neither."""
    return locate(path)[0]


def locate(path: Path) -> tuple[Path, int | None]:
    """The run directory and, where `path` is a checkpoint in it, the step."""
    if (path / "checkpoints").is_dir():
        return path, None
    if path.parent.name == "checkpoints" and path.is_dir() and path.name.isdigit():
        return path.parent.parent, int(path.name)
    if not path.exists():
        raise RunError(f"--checkpoint={path}: there is no such directory")
    raise RunError(
        f"--checkpoint={path} is neither a run directory (with `checkpoints` inside) nor one of its checkpoints"
    )
