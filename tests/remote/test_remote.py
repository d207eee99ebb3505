"""Run directories, photographs and weights on gs://, through the real clients of Google Cloud Storage."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cnn_jax
from cnn_jax import check_data, cli, evaluate, explain, export, files, predict
from cnn_jax.config import CheckpointConfig
from cnn_jax.data.paths import expand
from cnn_jax.data.sources import open_dataset
from cnn_jax.errors import ConfigError, DataError, RemoteError, RunError, RunFailed, WeightsError
from cnn_jax.training import runs
from cnn_jax.weights.locate import locate
from tests.remote.fake_gcs import Bucket, FakeGcs
from tests.training.helpers import (
    SMALL_CNN,
    assert_identical,
    command,
    final_state,
    metrics,
    stop_after,
    train,
    with_,
)

pytest.importorskip("google.cloud.storage")

RUN = files.as_path("gs://bucket/runs/first")
ON_PHOTOS = with_(
    SMALL_CNN,
    data={"dataset": "folder:gs://bucket/photos", "batch_size": 8, "steps_per_epoch": None, "eval_batch_size": 8},
    train={"epochs": 2, "tensorboard": True},
)


@pytest.fixture
def photos(bucket: Bucket, image_folder: Path) -> Path:
    """Of the classes red and blue, on this machine and in the bucket's `photos`."""
    bucket.upload(image_folder, "photos")
    return image_folder


def _local(bucket: Bucket, prefix: str, folder: Path) -> Path:
    """A copy on this machine of what is in the bucket below a prefix."""
    for name in bucket.names(f"{prefix}/"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.blobs[f"{prefix}/{name}"].content)
    return folder


def test_a_run_on_gs_is_the_run_on_this_machine_and_so_is_all_that_is_done_with_it(
    bucket: Bucket, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.page_size = 7  # so that every list comes in several pages
    here = with_(ON_PHOTOS, data={"dataset": f"folder:{photos}"})
    train(here, tmp_path / "here")
    with monkeypatch.context() as patched:
        stop_after(5, patched)
        assert train(ON_PHOTOS, RUN).result["status"] == "interrupted"
    assert train(ON_PHOTOS, RUN).result["status"] == "completed"

    assert_identical(final_state(here, tmp_path / "here"), final_state(ON_PHOTOS, RUN))
    assert metrics(tmp_path / "here") == metrics(RUN)
    for name in ("classes.json", "split.json"):
        assert bucket.blobs[f"runs/first/{name}"].content == (tmp_path / "here" / name).read_bytes()
    kept = {name.split("/")[0] for name in bucket.names("runs/first/checkpoints/")}
    assert kept == {"5", "6"}
    assert any("events.out.tfevents" in name for name in bucket.names("runs/first/tensorboard/"))

    assert evaluate.main([f"--checkpoint={RUN}"]) == 0
    assert evaluate.main([f"--checkpoint={tmp_path / 'here'}"]) == 0
    copy = _local(bucket, "runs/first", tmp_path / "copy")
    measured, expected = (
        json.loads((folder / "evaluation-validation.json").read_text()) for folder in (copy, tmp_path / "here")
    )
    assert measured | {"dataset": None} == expected | {"dataset": None}
    assert "<html" in (copy / "report.html").read_text()
    with np.load(copy / "predictions-validation.npz") as saved:
        assert len(saved["logits"]) == 10

    output = "gs://bucket/out/classes.csv"
    assert predict.main(["gs://bucket/photos/validation/red", f"--checkpoint={RUN}", f"--output={output}"]) == 0
    rows = list(csv.DictReader(bucket.blobs["out/classes.csv"].content.decode().splitlines()))
    assert {row["path"] for row in rows} == {f"gs://bucket/photos/validation/red/{i:02d}.png" for i in range(5)}
    classifier, local = cnn_jax.load("gs://bucket/runs/first"), cnn_jax.load(copy)
    photo = "photos/validation/red/00.png"
    np.testing.assert_array_equal(
        classifier(f"gs://bucket/{photo}").probabilities,
        local(photos.parent / photo.replace("photos", "images")).probabilities,
    )
    assert explain.main([f"gs://bucket/{photo}", f"--checkpoint={RUN}", "--methods", "grad-cam"]) == 0
    assert "explain/index.html" in bucket.names("runs/first/")
    assert export.main([f"--checkpoint={RUN}", "--format=stablehlo"]) == 0
    assert "small.stablehlo" in bucket.names("runs/first/")
