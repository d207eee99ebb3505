"""A configuration as JSON and back."""

import dataclasses
import json
import typing
from typing import Any

from cnn_jax.config import Config
from cnn_jax.errors import ConfigError
from cnn_jax.io.files import parse_json


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
