"""The sweep command: figures held against the run directories, work made once, and what goes wrong on the way."""

import itertools
import json
import re
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cnn_jax import sweep
from cnn_jax.config import AugmentConfig, Config
from cnn_jax.config.experiments import load_experiment
from cnn_jax.config.serialization import to_json
from cnn_jax.errors import EXIT_FAILED, EXIT_SIGTERM, ConfigError, RunError
from cnn_jax.models.building import build
from cnn_jax.sweeping import console, page, rows, running
from cnn_jax.sweeping.grid import Grid
from cnn_jax.sweeping.rows import Reached
from cnn_jax.training.run.logs import Reporter
from tests.report.reading import read_page
from tests.training.helpers import SMALL_FROZEN, assert_identical, final_state, stop_after, train, with_

SMALL = with_(
    replace(SMALL_FROZEN, data=replace(SMALL_FROZEN.data, augment=AugmentConfig())),
    model={"image_size": 16, "filters": (4, 8, 8)},
    data={"steps_per_epoch": 5, "split": (0.05, 0.05, 0.9)},
    optimizer={"clip_norm": None},
)
"""A network with batch norm and dropout on few digits, whose frozen layers are run once for each."""

POINTS = ("none", "conv3", "head")
SEEDS = (0, 1)


def command(config: Config, folder: Path, *flags: str) -> int:
    """Run the command with an experiment that is `config`, in `folder`/sweep; its exit code."""
    experiment = folder / "small.py"
    experiment.write_text(
        "from cnn_jax.config.serialization import from_json\n\n"
        f"config = from_json({to_json(config)!r}, 'the experiment')\n"
    )
    return sweep.main([f"--exp={experiment}", f"--workdir={folder / 'sweep'}", *flags])


def record(folder: Path) -> dict:
    return json.loads((folder / "sweep" / "sweep.json").read_text())


def config_of(point: str, seed: int, rate: float = SMALL.optimizer.learning_rate) -> Config:
    return replace(with_(SMALL, train={"freeze_until": point}, optimizer={"learning_rate": rate}), seed=seed)


def place(folder: Path, point: str, seed: int, rate: float = SMALL.optimizer.learning_rate) -> Path:
    return folder / "sweep" / point / f"learning_rate_{rate}-seed_{seed}"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of all points with two seeds; the points were given in another order."""
    folder = tmp_path_factory.mktemp("swept")
    assert command(SMALL, folder, "--freeze-until", "head", "none", "conv3", "--seeds", "0", "1") == 0
    return folder


# ---- figures ----


def test_the_rows_are_what_numpy_and_scipy_make_of_the_run_directories(swept: Path) -> None:
    found = record(swept)
    assert [row["freeze_until"] for row in found["rows"]] == list(POINTS)
    for row in found["rows"]:
        folders = [place(swept, row["freeze_until"], seed) for seed in SEEDS]
        results = [json.loads((folder / "result.json").read_text()) for folder in folders]
        accuracies = np.asarray([result["best"]["accuracy"] for result in results])
        low, high = stats.t.interval(0.95, len(SEEDS) - 1, accuracies.mean(), stats.sem(accuracies) or 1e-300)
        assert row["accuracy"] == pytest.approx(accuracies.mean())
        assert row["interval"] == pytest.approx([max(low, 0), min(high, 1)])
        assert row["interval_kind"] == "t"
        assert row["parameters"] == results[0]["parameters"]
        assert row["memory_bytes"] == results[0]["memory_bytes"]
        flops = [result["flops_per_step"] for result in results]  # a seed is a constant of the program: one may differ
        assert row["flops_per_image"] == np.median([count["step"] / SMALL.data.batch_size for count in flops])
        assert row["flops_share"] == np.median([count["step"] / count["full_model"] for count in flops])
        assert row["seconds_per_epoch"] == pytest.approx(statistics.median(map(_seconds, folders)), abs=2e-3)
    accuracy = [(row["accuracy"], -row["loss"]) for row in found["rows"]]
    assert [row["best"] for row in found["rows"]] == [value == max(accuracy) for value in accuracy]
    assert Path(found["best"]).parent.name == next(row["freeze_until"] for row in found["rows"] if row["best"])


def _seconds(folder: Path) -> float:
    """Of the last of two epochs: images by speed, training and validation."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    images = {
        "train": 5 * 16,
        "validation": len(json.loads((folder / "split.json").read_text())["splits"]["validation"]),
    }
    epochs: dict[int, float] = {}
    for line in lines:
        seconds = images[line["split"]] / line["images_per_second"]
        epochs[line["epoch"]] = epochs.get(line["epoch"], 0) + seconds
    return epochs[2]


def test_a_deeper_freeze_point_trains_and_takes_less(swept: Path) -> None:
    found = record(swept)["rows"]
    for before, after in itertools.pairwise(found):
        assert before["parameters"]["trainable"] > after["parameters"]["trainable"]
        assert before["flops_per_image"] > after["flops_per_image"]
        assert before["memory_bytes"]["step"] > after["memory_bytes"]["step"]


@pytest.mark.parametrize(("right", "images"), [(96, 200), (200, 200), (0, 7)])
def test_one_seed_has_the_interval_of_its_images(right: int, images: int) -> None:
    run = Reached(0, "", "completed", accuracy=right / images, validation_images=images)
    expected = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    assert rows.confidence([run]) == pytest.approx((expected.low, expected.high))


def test_the_kept_bytes_are_those_of_the_images_or_features(swept: Path) -> None:
    sizes = json.loads((place(swept, "none", 0) / "split.json").read_text())["splits"]
    images = len(sizes["train"]) + len(sizes["validation"])
    found = {row["freeze_until"]: row["memory_bytes"]["kept"] for row in record(swept)["rows"]}
    assert found["none"] == images * 16 * 16 * 3
    features = json.loads((place(swept, "conv3", 0) / "result.json").read_text())["features"]
    assert found["conv3"] == images * np.prod(features["shape"]) * 4


def test_the_course_row_is_named() -> None:
    mobilenet = load_experiment("mobilenet_ft")
    grid = Grid(mobilenet, ("conv_pw_10_bn", "conv_pw_10", "head"), (1e-4,), (0,))
    parameters = grid.parameters(grid.model(10))
    assert parameters["conv_pw_10_bn"]["trainable"] == 1_873_930  # keras.applications.MobileNet, layers[:-23] frozen
    assert parameters["conv_pw_10"]["trainable"] == 1_873_930 + 512 * 512
    planned = grid.runs(Path("sweep"))
    found = rows.gather(planned, [Reached(0, "", "open") for _ in planned], parameters)
    assert ["layers[:-23]" in row.note for row in found] == [True, True, False]


# ---- made once ----


@pytest.mark.sample(1)
@pytest.mark.parametrize("point", POINTS)
def test_each_run_is_bit_identical_to_the_run_alone(point: str, swept: Path, tmp_path: Path) -> None:
    alone = config_of(point, 1)
    train(alone, tmp_path / "alone")
    assert_identical(final_state(alone, tmp_path / "alone"), final_state(alone, place(swept, point, 1)))


def test_deeper_points_go_on_from_the_features_of_shallower_ones(swept: Path) -> None:
    log = (swept / "sweep" / "sweep.log").read_text()
    ready = re.findall(r"^features .* cached as the output of (\w+) .*ready in \S+ s(, from those of \w+)?$", log, re.M)
    assert [bool(source) for _, source in ready] == [False, False, True, True]
    assert len({layer for layer, _ in ready}) == 2


@pytest.mark.long
def test_features_in_files_are_gone_on_from_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    small = with_(SMALL, train={"feature_memory_megabytes": 0})  # in files, which take no memory
    assert command(small, tmp_path, "--freeze-until", "conv2", "conv3") == 0
    log = (tmp_path / "sweep" / "sweep.log").read_text()
    assert log.count(", from those of ") == 1
    alone = with_(config_of("conv3", 0), train={"feature_memory_megabytes": 0})
    in_memory = with_(config_of("conv3", 0), data={"device_memory_share": 0.0})  # a step each, as from files
    assert_identical(final_state(alone, place(tmp_path, "conv3", 0)), _alone(in_memory, tmp_path / "alone"))


def _alone(config: Config, workdir: Path) -> dict[str, np.ndarray]:
    train(config, workdir)
    return final_state(config, workdir)


# ---- stopping, going on, failing ----


@pytest.mark.long
def test_a_sweep_that_was_stopped_goes_on_and_leaves_what_is_complete(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--freeze-until", "none", "head")
    with monkeypatch.context() as patched:
        stop_after(7, patched)  # of the first run
        assert command(SMALL, tmp_path, *flags) == EXIT_SIGTERM
    found = record(tmp_path)
    assert (found["status"], found["runs"]) == ("open", {"completed": 0, "failed": 0, "open": 2})
    assert json.loads((place(tmp_path, "none", 0) / "result.json").read_text())["steps"] == 7
    assert command(SMALL, tmp_path, "--freeze-until", "none") == 0
    finished = (place(tmp_path, "none", 0) / "result.json").stat().st_mtime_ns
    assert command(SMALL, tmp_path, *flags) == 0
    assert (place(tmp_path, "none", 0) / "result.json").stat().st_mtime_ns == finished
    assert record(tmp_path)["status"] == "completed"
    for point in ("none", "head"):
        config = config_of(point, 0)
        assert_identical(final_state(config, place(swept, point, 0)), final_state(config, place(tmp_path, point, 0)))


@pytest.mark.long
def test_a_run_that_diverges_is_a_row_with_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--freeze-until", "conv3", "--learning-rates", "1e38", "3e-3")
    assert command(SMALL, tmp_path, *flags) == EXIT_FAILED
    diverged, good = record(tmp_path)["rows"]
    assert (diverged["status"], good["status"], good["best"]) == ("failed", "completed", True)
    assert diverged["accuracy"] is None
    error = diverged["runs"][0]["error"]
    assert re.match(r"step \d+ has a loss of ", error)
    out = capsys.readouterr().out
    assert f"failed     conv3, learning rate 1e+38, seed 0: {error[:20]}" in out
    assert out.rstrip().endswith(f"next       python -m cnn_jax.evaluate --checkpoint={place(tmp_path, 'conv3', 0)}")
    cell = read_page(tmp_path / "sweep" / "sweep.html").one("td", class_="error")
    assert cell.text == f"failed: {error}"


@pytest.mark.long
def test_a_run_that_breaks_in_another_way_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = running.fit

    def breaking(config: Config, *arguments, **named):
        if config.train.freeze_until == "none":
            raise MemoryError("out of memory")
        return fit(config, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(running, "fit", breaking)
        assert command(SMALL, tmp_path, "--freeze-until", "none", "head") == EXIT_FAILED
    assert [row["status"] for row in record(tmp_path)["rows"]] == ["failed", "completed"]
    assert record(tmp_path)["rows"][0]["runs"][0]["error"] == "MemoryError: out of memory"
    assert "Traceback" in (tmp_path / "sweep" / "sweep.log").read_text()
    assert command(SMALL, tmp_path, "--freeze-until", "none", "head") == 0  # it is tried again


# ---- what is refused before anything runs ----


def test_an_unknown_layer_is_refused_with_the_near_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--freeze-until: there is no layer 'conv_3'; near names: .*conv3"):
        command(SMALL, tmp_path, "--freeze-until", "none", "conv_3")
    assert not (tmp_path / "sweep").exists()


def test_another_configuration_is_refused_with_the_difference(swept: Path) -> None:
    before = record(swept)
    with pytest.raises(RunError, match=r"train.epochs: 2 -> 3"):
        command(SMALL, swept, "--freeze-until", "none", "--train.epochs=3")
    assert record(swept) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "nothing to compare"),
        (("--freeze-until",), "--freeze-until: give one or more values"),
        (
            ("--freeze-until", "none", "--train.freeze-until=head"),
            "--freeze-until and --train.freeze-until say the same",
        ),
        (("--learning-rates", "1", "--optimizer.learning_rate", "2"), "--learning-rates and --optimizer.learning_rate"),
        (("--seeds", "1", "--seed=2"), "--seeds and --seed say the same"),
        (("--learning-rates", "-1"), "optimizer.learning_rate=-1.0 is not possible"),
        (("--seeds", "1", "--model.weights=gone.h5"), "gone.h5"),
        (("--seeds", "1", "--data.dataset=folder:gone"), "gone"),
    ],
)
def test_wrong_use_is_one_error(flags: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=re.escape(message)) as raised:
        command(SMALL, tmp_path, *flags)
    assert type(raised.value).__module__ == "cnn_jax.errors"
    assert not (tmp_path / "sweep").exists()


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="is not the directory of a sweep"):
        command(SMALL, tmp_path, "--freeze-until", "none")


# ---- what is shown ----


def _made_up(folder: Path, rates: tuple[float, ...], seeds: tuple[int, ...], error: str) -> running.Sweep:
    """A sweep of MobileNet in which the runs of the first point failed."""
    config = replace(load_experiment("mobilenet_ft"), name="<b>name")
    grid = Grid(with_(config, data={"dataset": "folder:<i>photos"}), ("none", "conv_pw_10_relu", "head"), rates, seeds)
    planned = grid.runs(folder)
    folder.mkdir()
    done = {"accuracy": 0.9, "loss": 0.1, "best_epoch": 2, "validation_images": 200, "seconds_per_epoch": 1234.5}
    costs = {"memory_bytes": {"step": 10**10, "kept": 10**9}, "flops_per_image": 1.2e9, "flops_share": 0.5}
    reached = [
        Reached(run.seed, str(run.directory), "failed", error=error)
        if run.freeze_until == "none"
        else Reached(run.seed, str(run.directory), "completed", **done, **costs)
        for run in planned
    ]
    return running.Sweep(
        grid, folder, planned, grid.parameters(grid.model(2)), {"train": 9}, ("<u>cats", "dogs"), reached
    )


def test_the_page_escapes_what_other_people_named(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> & <img src=x onerror=alert(2)>"
    shown = read_page(page.write(_made_up(tmp_path / "<s>sweep", (1e-4,), (0,), hostile)))
    assert not shown.all("script")
    assert not shown.all("s")
    assert not shown.all("i")
    assert [image.attributes["src"][:22] for image in shown.all("img")] == ["data:image/png;base64,"]
    assert hostile in shown.one("td", class_="error").text
    assert (tmp_path / "<s>sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("rates", "seeds"), [((1e-4,), (0,)), ((1e-4, 1e-3), (0, 1, 2))])
def test_the_console_table_fits_80_columns(
    rates: tuple[float, ...], seeds: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = _made_up(tmp_path / "sweep", rates, seeds, "no").rows
    Reporter().table(console.table(found, rows.best(found)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3 * len(rates)  # none is folded
    assert max(map(len, lines)) <= 80
    assert max(map(len, [*console.legend(found), *console.verdict(found, rows.best(found))])) <= 110


def test_runs_of_a_sweep_are_found_again_whatever_else_is_in_the_grid(tmp_path: Path) -> None:
    small = Grid(SMALL, ("head",), (1e-3,), (3,)).runs(tmp_path)
    large = Grid(SMALL, ("none", "head"), (1e-5, 1e-3), (1, 2, 3)).runs(tmp_path)
    assert small[0] in large
    assert len({run.directory for run in large}) == 12


def test_the_points_are_ordered_by_depth() -> None:
    model = build(SMALL.model, 10)
    names = [str(layer.name) for layer in model.layers]
    grid = Grid(SMALL, ("head", names[3], "none", names[1]), (1e-3,), (0,))
    assert grid.in_order_of_depth(model).freeze_points == ("none", names[1], names[3], "head")
