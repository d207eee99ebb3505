"""Find an experiment by name or path, apply command-line flags, and carry a configuration to JSON and back."""

import dataclasses
import difflib
import importlib.util
import json
import os
import sys
import types
import typing
from pathlib import Path
from typing import Any

from cnn_jax.config import NAMED_WEIGHTS, Config, ModelConfig
from cnn_jax.config.augment import USUAL
from cnn_jax.config.model import KERAS_PREFIX
from cnn_jax.errors import ConfigError
from cnn_jax.files import parse_json


def experiment_folders() -> list[Path]:
    """Where experiments are looked for: `experiments/` here, then the ones that come with the package."""
    package = Path(__file__).parent
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


def _run_file(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"cnn_jax_experiment_{path.stem}", path)
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


def resolve_paths(config: Config) -> Config:
    """The configuration with absolute paths, so that a run can be read from any folder."""
    kind, colon, folder = config.data.dataset.partition(":")
    local = colon and kind in ("folder", "flat", "csv") and folder
    dataset = f"{kind}:{_absolute(folder)}" if local else config.data.dataset
    root = config.data.csv.root and _absolute(config.data.csv.root)
    csv = dataclasses.replace(config.data.csv, root=root)
    data_dir = config.data.data_dir and _absolute(config.data.data_dir)
    exclude = config.data.exclude and _absolute(config.data.exclude)
    weights = config.model.weights
    if weights not in NAMED_WEIGHTS and not weights.startswith(KERAS_PREFIX):
        weights = _absolute(weights)
    teacher = config.train.teacher and _absolute(config.train.teacher)
    return dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, teacher=teacher),
        model=dataclasses.replace(config.model, weights=weights, image_size=_image_size(config.model, weights)),
        data=dataclasses.replace(config.data, dataset=dataset, data_dir=data_dir, exclude=exclude, csv=csv),
    )


def _image_size(model: ModelConfig, weights: str) -> int:
    """As configured; where that is the default, the size of the network in the Keras file or run."""
    if model.name != "keras" or model.image_size != ModelConfig.image_size:
        return model.image_size
    from cnn_jax.weights import keras_application, keras_description  # JAX loads for them alone

    path = keras_application.locate(weights) if weights.startswith(KERAS_PREFIX) else Path(weights)
    return keras_description.network(path, model.image_size).image_size if path.exists() else model.image_size


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))


def to_json(config: Config) -> str:
    """The configuration as indented JSON, every field present."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str, where: str) -> Config:
    """The inverse of `to_json`; `where` is the file that an error names. Fields left out take their defaults.

    But for `data.background`: what was written before there was this field means `drop`, so that a run goes on, and is
    evaluated, as it began.

    Raises:
        ConfigError: not JSON, an unknown field, a wrong type or an impossible value.
    """
    try:
        value = parse_json(text)
        if isinstance(value, dict) and isinstance(value.get("data"), dict):
            value["data"].setdefault("background", "drop")
        return _build(Config, value, "")
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _build(kind: Any, value: Any, name: str) -> Any:
    """`value`, as parsed from JSON, in the types of the annotation `kind`; the dataclasses check what it is."""
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, name)
    return tuple(value) if isinstance(value, list) else value


def _build_dataclass(kind: Any, value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{name or 'the configuration'} must be an object with fields, not {value!r}")
    hints = typing.get_type_hints(kind)
    prefix = f"{name}." if name else ""
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise ConfigError(f"unknown field {prefix}{unknown[0]}; there are: {', '.join(hints)}")
    return kind(**{key: _build(hints[key], item, f"{prefix}{key}") for key, item in value.items()})
