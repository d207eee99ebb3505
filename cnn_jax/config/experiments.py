"""Experiments: files that define a configuration, found by name or path."""

import dataclasses
import difflib
import importlib.machinery
import importlib.util
import os
import sys
import types
from pathlib import Path

from cnn_jax.config import Config
from cnn_jax.config.augment import USUAL
from cnn_jax.errors import ConfigError


def experiment_folders() -> list[Path]:
    """Where experiments are looked for: `experiments/` here, then the ones that come with the package."""
    package = Path(__file__).parents[1]
    shipped = package / "experiments"  # in an installed wheel; a checkout has them beside the package
    return [Path("experiments"), shipped if shipped.is_dir() else package.parent / "experiments"]


def list_experiments() -> dict[str, Path]:
    """Name to file of every experiment that can be named."""
    found: dict[str, Path] = {}
    for folder in experiment_folders():
        for path in sorted(folder.glob("[!_]*.py")):
            found.setdefault(path.stem, path)
    return found


def load_experiment(name_or_path: str) -> Config:
    """The `config` that an experiment file defines.

    Raises:
        ConfigError: no such experiment (with the near names), or a file that does not run or defines no `config`.
    """
    path = Path(name_or_path)
    if path.suffix != ".py":
        known = list_experiments()
        if name_or_path not in known:
            near = difflib.get_close_matches(name_or_path, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(
                f"--exp={name_or_path}: no such experiment; {hint}There are: {', '.join(known)}, "
                "or give the path of a .py file"
            )
        path = known[name_or_path]
    if not path.is_file():
        raise ConfigError(f"--exp={name_or_path}: there is no such file")
    config = getattr(_run_file(path), "config", None)
    if not isinstance(config, Config):
        raise ConfigError(f"{path}: an experiment defines `config = Config(...)` (cnn_jax.config); found {config!r}")
    return config


def augmented(config: Config) -> Config:
    """The experiment with the usual augmentation in place of its own, under a name of its own."""
    name = f"{config.name}_augmented"
    return dataclasses.replace(config, name=name, data=dataclasses.replace(config.data, augment=USUAL))


class _FromSource(importlib.machinery.SourceFileLoader):
    """Takes no kept bytecode, which Python believes for a second and more after a file of the same length changed."""

    def get_code(self, fullname: str) -> types.CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _run_file(path: Path) -> types.ModuleType:
    name = f"cnn_jax_experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, os.path.abspath(path)))
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: this is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        line = getattr(error, "lineno", None) or _line_in(path, error)
        where = f", line {line}" if line else ""
        raise ConfigError(f"{path}{where}: {type(error).__name__}: {error}") from error
    return module


def _line_in(path: Path, error: BaseException) -> int | None:
    """The last line of `path` that the traceback of `error` passes through."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == os.path.abspath(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
