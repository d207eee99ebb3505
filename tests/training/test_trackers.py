"""Trackers beside metrics.jsonl: what MLflow and Weights & Biases hold of a run, and what happens where they fail."""

import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.config import flags
from cnn_jax.errors import ConfigError
from cnn_jax.training.run import trackers
from cnn_jax.training.run.tracker import Beginning
from cnn_jax.training.setup import set_up
from tests.training.helpers import SMALL_CNN, metrics, train, train_until, with_

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own

SHORT = with_(SMALL_CNN, train={"epochs": 2})


def needs(library: str) -> None:
    if not trackers.installed(library):
        pytest.skip(f"needs {library}: pip install '.[{library}]'")


def scalars(workdir: Path) -> dict[tuple[str, int], float]:
    """What metrics.jsonl says, by the name of a curve and the step."""
    return {
        (f"{line['split']}/{name}", line["step"]): value
        for line in metrics(workdir)
        for name, value in line.items()
        if isinstance(value, int | float) and name != "step"
    }


@pytest.mark.long
def test_mlflow_has_the_run_its_settings_curves_pictures_and_files_and_a_resumed_run_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("mlflow")
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    config, workdir = with_(SHORT, train={"trackers": ("mlflow",)}), tmp_path / "first"
    train_until(9, config, workdir, monkeypatch)
    train(config, workdir)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("cnn_jax")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert json.loads((workdir / "trackers.json").read_text()) == {"mlflow": run.info.run_id}
    assert run.data.params == {name: str(value) for name, value in flags(config).items()}
    for (name, step), value in scalars(workdir).items():
        found = {metric.step: metric.value for metric in client.get_metric_history(run.info.run_id, name)}
        assert found[step] == value, name
    kept = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert {"config.json", "result.json", "metrics.jsonl", "images"} <= set(kept)
    assert client.list_artifacts(run.info.run_id, "images")


def history(folder: Path) -> list[dict[str, Any]]:
    """What the files of an offline run hold, by the messages of the library.

    The files are of LevelDB's log format: blocks of 32 KiB with records of a checksum, a length and a kind.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        content, place, held = path.read_bytes(), 7, b""
        while place + 7 <= len(content):
            left = 32768 - place % 32768
            if left < 7:
                place += left
                continue
            _, length, kind = struct.unpack("<IHB", content[place : place + 7])
            held += content[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # whole, or the last part
                record = Record.FromString(held)
                if record.WhichOneof("record_type") == "history":
                    items = record.history.item
                    found.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
                elif record.WhichOneof("record_type") == "run":
                    found.append({"run": record.run.run_id, "name": record.run.display_name})
                held = b""
    return found


@pytest.mark.long
def test_weights_and_biases_has_the_curves_and_a_resumed_run_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config, workdir = with_(SHORT, train={"trackers": ("wandb",)}), tmp_path / "first"
    train_until(9, config, workdir, monkeypatch)
    train(config, workdir)
    found = history(workdir)
    (known,) = {(line["run"], line["name"]) for line in found if "run" in line}
    assert known == (json.loads((workdir / "trackers.json").read_text())["wandb"], "first")
    told = {(name, line["_step"]): value for line in found for name, value in line.items() if "_step" in line}
    for (name, step), value in scalars(workdir).items():
        assert told[name, step] == pytest.approx(value), name
    (first, *_) = sorted((workdir / "wandb").glob("offline-run-*/files"))
    assert len(list(first.rglob("images*.png"))) == 8
    for name in ("config.json", "result.json", "metrics.jsonl"):
        (*_, last) = sorted((workdir / "wandb").glob(f"offline-run-*/files/{name}"))
        assert last.read_bytes() == (workdir / name).read_bytes()


class Going(BaseHTTPRequestHandler):
    """As much of a W&B server as a run needs to begin; then it is gone."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        data: dict[str, Any] = {"model": None}
        begins = "upsertBucket" in asked.get("query", "")
        if begins:
            project = {"id": "p", "name": "cnn_jax", "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "b", "name": asked["variables"]["name"], "displayName": "first", "config": "{}"}
            data = {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}
        content = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        if begins:
            threading.Thread(target=self.server.shutdown).start()

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.long
@pytest.mark.parametrize("gone", ["before", "after the start"])
def test_a_weights_and_biases_server_that_is_gone_is_one_line_and_the_training_goes_on(
    gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("wandb")
    import wandb

    wandb.teardown()  # it reads its variables once
    with ThreadingHTTPServer(("127.0.0.1", 0), Going) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        if gone == "after the start":
            thread.start()
            for name, value in {"INIT": "60", "FINISH": "3"}.items():
                monkeypatch.setenv(f"WANDB_{name}_TIMEOUT", value)
        else:
            server.server_close()
            monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        outcome = train(with_(SHORT, train={"trackers": ("wandb",)}), tmp_path / "run")
    assert outcome.result["status"] == "completed"
    assert len(metrics(tmp_path / "run")) == 4
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(said) == 1
    assert said[0].startswith("warning    Weights & Biases is not told any more: ")
    assert ("TimeoutError" if thread.ident else "CommError") in said[0]
    monkeypatch.undo()
    wandb.teardown()


class Failing:
    """A tracker whose server goes after the start."""

    def start(self, run: Beginning) -> str:
        return "it"

    def scalars(self, step: int, values: dict[str, float]) -> None:
        raise ConnectionError("the server is gone\nand more")

    def images(self, step: int, name: str, images: np.ndarray) -> None: ...

    def artifact(self, path: Path) -> None: ...

    def end(self, status: str) -> None: ...


@pytest.mark.long
def test_a_tracker_that_fails_is_one_warning_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trackers, "_tracker", lambda name: Failing())
    monkeypatch.setattr(trackers, "installed", lambda library: True)
    outcome = train(with_(SHORT, train={"trackers": ("wandb",)}), tmp_path / "run")
    assert outcome.result["status"] == "completed"
    assert len(metrics(tmp_path / "run")) == 4
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert said == ["warning    Weights & Biases is not told any more: ConnectionError: the server is gone"]


def test_a_library_that_is_missing_is_said_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "installed", lambda library: False)
    with pytest.raises(ConfigError, match=r"train\.trackers=mlflow needs MLflow: pip install 'cnn_jax\[mlflow\]'"):
        set_up(with_(SHORT, train={"trackers": ("mlflow",)}), None)
