"""Run directories and configurations from people who mean harm."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnn_jax.config.serialization import from_json, to_json
from cnn_jax.errors import ConfigError
from cnn_jax.training import saving
from cnn_jax.training.setup import Job
from tests.faults.commands import error_of, nothing_changed, train
from tests.training.helpers import SMALL_CNN, with_

pytestmark = [
    pytest.mark.usefixtures("leftovers_collected"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
    ),  # a closed loop is told
]

CONFIGURATIONS: dict[str, Any] = {
    "name that leads outside": {"name": "../../evil"},
    "name with a zero byte": {"name": "a\0b"},
    "name of two lines": {"name": "a\nerror: all is well"},
    "field that Python knows": {"__class__": "os.system"},
    "method for a field": {"__init__": {"__globals__": {}}},
    "object for a number": {"seed": {"__reduce__": ["os.system", "touch owned"]}},
    "number without end": {"optimizer": {"learning_rate": 1e999}},
    "no number": {"optimizer": {"learning_rate": float("nan")}},
    "list for a section": {"model": [1, 2]},
    "negative size": {"data": {"batch_size": -1}},
    "unknown section": {"run_this": "touch owned"},
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_configuration_made_to_break_is_one_error(kind: str, ended: Callable[..., None]) -> None:
    whole = json.loads(to_json(SMALL_CNN))
    for name, value in CONFIGURATIONS[kind].items():
        whole[name] = (
            {**whole[name], **value} if isinstance(whole.get(name), dict) and isinstance(value, dict) else value
        )
    with pytest.raises(ConfigError, match=r"^somewhere: "):
        from_json(json.dumps(whole), "somewhere")
    ended("configuration made to break", "one clear error", kind)


@pytest.mark.sample(1)
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000, "", "\0", "null", "\ud800"])
def test_what_is_no_configuration_at_all(text: str, ended: Callable[..., None]) -> None:
    with pytest.raises(ConfigError, match=r"^somewhere: "):
        from_json(text, "somewhere")
    ended("configuration made to break", "one clear error", "no JSON object")


META = {
    "a name that leads outside": (["config", "name"], "../../evil"),
    "no configuration": (["config"], None),
    "classes of another kind": (["classes"], 3),
    "more classes": (["classes"], ["a"] * 9),
    "another network": (["config", "model", "filters"], [4, 9]),
    "a gigantic network": (["config", "model", "filters"], [2**20, 2**20]),
}


@pytest.mark.long
@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", META)
def test_a_checkpoint_whose_metadata_were_changed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[..., None]
) -> None:
    workdir, describe = tmp_path / "run", saving._description

    def changed(job: Job) -> dict[str, Any]:
        meta = json.loads(json.dumps(describe(job)))
        keys, value = META[kind]
        place = meta
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return meta

    with monkeypatch.context() as patched:
        patched.setattr(saving, "_description", changed)
        assert train(with_(SMALL_CNN, train={"epochs": 1}), workdir) == 0
    with nothing_changed(tmp_path):
        for command, arguments in {"evaluate": [], "export": ["--format=keras-h5"]}.items():
            message = error_of(command, f"--checkpoint={workdir}", *arguments)
            assert str(workdir) in message
    ended("checkpoint whose metadata were changed", "one clear error", kind)


@pytest.mark.long
def test_a_record_of_splits_that_leads_outside(finished_run: Path, tmp_path: Path, ended: Callable[..., None]) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    for names in (["../../../etc/passwd"], ["/etc/passwd"], [{"a": 1}], [["b"]], 7):
        (workdir / "split.json").write_text(json.dumps({"splits": {"validation": names}}))
        message = error_of("evaluate", f"--checkpoint={workdir}")
        assert "no longer in digits" in message or "cannot be read as a record of splits" in message, message
        ended("record of splits that leads outside", "one clear error", repr(names))
