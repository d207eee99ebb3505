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
from cnn_jax import check_data, compare, evaluate, predict
from cnn_jax.config import CheckpointConfig, DataConfig
from cnn_jax.data.paths import expand
from cnn_jax.data.sources import Split, open_dataset
from cnn_jax.errors import ConfigError, DataError, RemoteError, RunError, WeightsError
from cnn_jax.io import files, writing
from cnn_jax.training import trained_run
from cnn_jax.training.run import run_directory
from cnn_jax.weights.locate import locate
from tests.data.test_sources import assert_holds_tfds_pixels, prepare_tfds
from tests.remote.fake_gcs import Bucket, FakeGcs
from tests.test_compare import made, said
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


@pytest.mark.long
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


@pytest.mark.long
def test_a_run_that_is_killed_while_it_saves_goes_on_from_the_checkpoint_before(
    gcs: FakeGcs, bucket: Bucket, tmp_path: Path
) -> None:
    config = replace(with_(SMALL_CNN, train={"epochs": 2}), checkpoint=CheckpointConfig(every_steps=3))
    whole = train(config, tmp_path / "whole").result
    start = [*command(config, tmp_path / "run")[:-2], f"--workdir={RUN}", "--report=False"]
    process = subprocess.Popen(start, env={**os.environ, "CNN_JAX_NO_TUNING": "1"})
    committed = "runs/first/checkpoints/{}/commit_success.txt"
    begun = "runs/first/checkpoints/{}/"
    try:
        while not any(
            committed.format(step - 3) in bucket.blobs
            and any(name.startswith(begun.format(step)) for name in list(bucket.blobs))
            and committed.format(step) not in bucket.blobs
            for step in range(6, 13, 3)
        ):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    with pytest.raises(RunError, match="another configuration"):
        train(with_(config, train={"epochs": 3}), RUN)
    result = train(config, RUN).result
    assert result["steps"] == whole["steps"]
    assert_identical(final_state(config, tmp_path / "whole"), final_state(config, RUN))
    assert metrics(tmp_path / "whole") == metrics(RUN)


@pytest.mark.long
def test_a_damaged_checkpoint_is_moved_away_and_the_one_before_is_gone_on_from(bucket: Bucket) -> None:
    config = with_(SMALL_CNN, train={"epochs": 2})
    train(config, RUN)
    for name in bucket.names():
        if name.startswith("runs/first/checkpoints/12/variables/"):
            bucket.put(name, b"damaged")
    assert train(config, RUN).result["status"] == "completed"
    assert any(name.startswith("12-") for name in bucket.names("runs/first/damaged/"))
    assert (RUN / "checkpoints" / "12" / "commit_success.txt").exists()


def test_what_a_kill_left_before_the_first_whole_checkpoint_is_no_run_to_go_on_with(bucket: Bucket) -> None:
    bucket.put("runs/first/config.json", b"{}")
    bucket.put("runs/first/checkpoints/2/variables/_METADATA", b"{}")
    assert not run_directory.check(RUN, SMALL_CNN)
    bucket.put("runs/first/checkpoints/2/commit_success.txt", b"")
    with pytest.raises(RunError, match="another configuration"):
        run_directory.check(RUN, SMALL_CNN)
    with pytest.raises(RunError, match="is not a run directory"):
        run_directory.check(files.as_path("gs://bucket/runs"), SMALL_CNN)


def _hashes(split: Split) -> dict[str, bytes]:
    return {name: row.tobytes() for name, row in zip(split.ids, split.images.hashes(), strict=True)}


@pytest.mark.long
def test_a_data_set_is_listed_as_on_this_machine(bucket: Bucket, photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "blue" / "more").mkdir()
    shutil.copy(photos / "train" / "blue" / "00.png", photos / "train" / "blue" / "more" / "copy.png")
    (photos / "train" / "red" / "notes.txt").write_text("no image")
    (photos / "train" / "red" / ".hidden.png").write_bytes(b"")
    bucket.upload(photos, "photos")
    (tmp_path / "exclude.txt").write_text("train/red/01.png\n")
    bucket.put("exclude.txt", b"gs://bucket/photos/train/red/01.png\n")
    config = ON_PHOTOS.data
    there = open_dataset(replace(config, exclude="gs://bucket/exclude.txt"))
    here = open_dataset(replace(config, dataset=f"folder:{photos}", exclude=str(tmp_path / "exclude.txt")))
    for name, split in here.splits.items():
        assert list(there.splits[name].ids) == list(split.ids)
        assert there.splits[name].labels.tolist() == split.labels.tolist()
        np.testing.assert_array_equal(there.splits[name].images.load(3), split.images.load(3))
    before = _hashes(there.splits["train"])
    bucket.put("photos/train/red/00.png", (photos / "train" / "red" / "00.png").read_bytes() + b" ")
    after = _hashes(open_dataset(config).splits["train"])
    assert [name for name in before if before[name] != after[name]] == ["train/red/00.png"]

    reports = []
    for dataset, file in ((f"folder:{photos}", tmp_path / "here.json"), (config.dataset, tmp_path / "there.json")):
        bucket.put("photos/train/red/00.png", (photos / "train" / "red" / "00.png").read_bytes())
        code = check_data.main([dataset, f"--json={file}"])
        reports.append((code, json.loads(file.read_text()) | {"dataset": None, "folder": None}))
    assert reports[0] == reports[1]


@pytest.mark.parametrize("start", ["validation/", "gs://bucket/photos/validation/"], ids=["relative", "whole"])
def test_a_table_of_labels_is_read_as_on_this_machine(bucket: Bucket, photos: Path, start: str) -> None:
    """Whole addresses are how Google's own programs write their tables."""
    rows = [f"{start}{name}/{i:02d}.png,{name}" for name in ("red", "blue") for i in range(3)]
    bucket.put("photos/labels.csv", "\n".join(["path,label", *rows, f"{start}red/gone.png,red"]).encode())
    there = open_dataset(replace(ON_PHOTOS.data, dataset="csv:gs://bucket/photos/labels.csv"))
    (photos / "labels.csv").write_text("\n".join(["path,label", *rows]).replace("gs://bucket/photos/", ""))
    here = open_dataset(replace(ON_PHOTOS.data, dataset=f"csv:{photos / 'labels.csv'}"))
    assert there.classes == here.classes == ("blue", "red")
    for name, split in here.splits.items():
        assert list(there.splits[name].ids) == list(split.ids)
        assert there.splits[name].labels.tolist() == split.labels.tolist()
        np.testing.assert_array_equal(there.splits[name].images.load(1), split.images.load(1))
    gone = f"labels.csv, line 8: {start}red/gone.png"
    assert there.left_out[gone] == "no such file"
    assert {name for name, why in there.left_out.items() if why == "no row"} == {
        f"validation/{name}/{i:02d}.png" for name in ("blue", "red") for i in (3, 4)
    }


def test_runs_are_compared_as_on_this_machine_and_the_page_is_written_there(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, skill in enumerate((2.0, 1.0)):
        made(tmp_path / "runs" / f"run{number}", said(number, 60, skill))
    bucket.upload(tmp_path / "runs", "runs")
    assert compare.main([str(tmp_path / "runs" / "*"), f"--output={tmp_path / 'page.html'}"]) == 0
    here = capsys.readouterr().out.replace(str(tmp_path), "gs://bucket")
    assert compare.main(["gs://bucket/runs/*", "--output=gs://bucket/page.html"]) == 0
    assert capsys.readouterr().out == here
    page = bucket.blobs["page.html"].content.decode()
    assert page == (tmp_path / "page.html").read_text().replace(str(tmp_path), "gs://bucket")
    with pytest.raises(RunError, match="gs://bucket/gone: there is no such directory"):
        compare.main(["gs://bucket/gone", "gs://bucket/runs/*"])


def test_images_are_named_one_by_one_by_folder_and_by_pattern(bucket: Bucket, photos: Path) -> None:
    folder = "gs://bucket/photos/validation"
    assert expand([f"{folder}/red/00.png"]) == [f"{folder}/red/00.png"]
    both = [f"{folder}/{name}/{i:02d}.png" for name in ("blue", "red") for i in range(5)]
    assert expand([folder]) == both
    assert expand([f"{folder}/*/0[12].png"]) == [both[i] for i in (1, 2, 6, 7)]
    assert expand([f"{folder}/r*"]) == both[5:]
    with pytest.raises(DataError, match=r"\*\* is for patterns of this machine"):
        expand([f"{folder}/**/*.png"])
    with pytest.raises(DataError, match="there is no such image"):
        expand([f"{folder}/none"])


def test_a_weights_file_is_copied_once_and_again_when_it_has_changed(bucket: Bucket) -> None:
    model = replace(SMALL_CNN.model, weights="gs://bucket/weights/small.h5")
    bucket.put("weights/small.h5", b"first")
    copy = locate(model)
    assert copy is not None
    assert (copy.name, copy.read_bytes()) == ("small.h5", b"first")
    bucket.requests.clear()
    assert locate(model) == copy
    assert not any(request.startswith("GET /bucket/") for request in bucket.requests), "it was read again"
    bucket.put("weights/small.h5", b"other")
    again = locate(model)
    assert again is not None
    assert again.read_bytes() == b"other"
    with pytest.raises(WeightsError, match="no such file or run"):
        locate(replace(model, weights="gs://bucket/weights/none.h5"))


def test_a_file_is_replaced_whole_or_not_at_all(bucket: Bucket) -> None:
    path = files.as_path("gs://bucket/folder/file.txt")
    writing.write_atomically(path, "one\n")
    writing.append(path, "two\n")
    assert path.read_text() == "one\ntwo\n"

    def fails() -> None:
        with writing.replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with writing.replacing(path):
        pass
    assert path.read_text() == "one\ntwo\n"
    assert bucket.names() == ["folder/file.txt"]


# ---- errors ----


def test_a_storage_that_refuses_or_is_not_there_is_one_error(bucket: Bucket, photos: Path) -> None:
    with pytest.raises(DataError, match="there is no folder gs://nowhere/photos"):
        open_dataset(replace(ON_PHOTOS.data, dataset="folder:gs://nowhere/photos"))
    with pytest.raises(RunError, match="cannot be written: there is no such bucket; `gcloud storage buckets create"):
        train(SMALL_CNN, files.as_path("gs://nowhere/runs/first"))
    bucket.refuses = re.compile("GET .*/photos|runs%2F|/runs/|name=runs")
    with pytest.raises(DataError, match=r"(?s)data.dataset=folder:gs://bucket/photos cannot be read: .*403.*log in"):
        open_dataset(ON_PHOTOS.data)
    with pytest.raises(RunError, match=r"(?s)--workdir=gs://bucket/runs/first cannot be read: .*403.*log in"):
        train(SMALL_CNN, RUN)
    with pytest.raises(RemoteError, match="403"):
        trained_run.load(RUN)


def test_without_a_network_the_error_says_so(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=r"cannot be read: .*Is there a network"):
        open_dataset(ON_PHOTOS.data)


def test_storages_of_other_kinds_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"s3://bucket/photos is not possible: it must be a path of this machine, or gs"
    ):
        open_dataset(replace(ON_PHOTOS.data, dataset="folder:s3://bucket/photos"))
    with pytest.raises(ConfigError, match="gs:// is not possible"):
        files.as_path("gs://")


def test_the_package_that_checkpoints_need_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    with pytest.raises(RunError, match="pip install google-cloud-storage"):
        train(SMALL_CNN, RUN)
    assert not bucket.names()


@pytest.mark.sample(1)
@pytest.mark.parametrize("form", ["tfrecord", "array_record"])
def test_a_prepared_tfds_data_set_is_copied_once(form: str, bucket: Bucket, tmp_path: Path) -> None:
    prepare_tfds(tmp_path, "made_up", {"train": 5, "test": 3}, file_format=form)
    bucket.upload(tmp_path, f"tfds/{form}")
    config = DataConfig(dataset="tfds:made_up", data_dir=f"gs://bucket/tfds/{form}")
    assert_holds_tfds_pixels(open_dataset(config).splits["train"], "train", 5)
    bucket.requests.clear()
    assert_holds_tfds_pixels(open_dataset(config).splits["test"], "test", 3)
    assert not any("made_up-test" in request and "/o/" not in request for request in bucket.requests)
