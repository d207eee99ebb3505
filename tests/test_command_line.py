"""The command line of training: what it refuses, with one message and exit code 2, and what it prints."""

import dataclasses
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cnn_jax
from cnn_jax import train
from cnn_jax.api.paths import resolve_paths
from cnn_jax.cli import command_line
from cnn_jax.config import AugmentConfig, Config
from cnn_jax.config.experiments import list_experiments, load_experiment
from cnn_jax.config.serialization import from_json
from cnn_jax.io.tensorflow import tf
from cnn_jax.runtime.tuning import MALLOC_TUNABLES, NO_TUNING

PACKAGE_PARENT = str(Path(cnn_jax.__file__).parent.parent)


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> Finished:
        monkeypatch.setattr(sys, "argv", ["train.py", *argv])
        with pytest.raises(SystemExit) as ended:
            command_line.run(train.main)
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Finished(code or 0, *capsys.readouterr())

    return run


def run_process(*argv: str, tuning: bool, folder: Path, python: tuple[str, ...] = ()) -> Finished:
    environment = {k: v for k, v in os.environ.items() if k not in ("GLIBC_TUNABLES", NO_TUNING)}
    environment |= {"PYTHONPATH": PACKAGE_PARENT, "COLUMNS": "400", "PYTHONUTF8": "1"}
    if not tuning:
        environment[NO_TUNING] = "1"
    command = [sys.executable, *python, *argv]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=folder)
    return Finished(done.returncode, done.stdout, done.stderr)


def assert_one_message(finished: Finished, *parts: str) -> None:
    assert finished.code == 2
    assert finished.out == ""
    assert "Traceback" not in finished.err
    assert finished.err.count("error: ") + finished.err.count("For full helptext") == 1
    for part in parts:
        assert part in finished.err


def field_names(config: Any, prefix: str = "") -> list[str]:
    names = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        nested = dataclasses.is_dataclass(value)
        names += field_names(value, f"{prefix}{item.name}.") if nested else [prefix + item.name]
    return names


def test_a_misspelt_flag_is_named_with_the_near_ones(command: Command) -> None:
    assert_one_message(command("--exp=quickstart", "--model.alpah=0.5"), "--model.alpah", "--model.alpha ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model.alpha=wide"], "--model.alpha"),
        (["--seed=1.5"], "--seed"),
        (["--model.name=resnet"], "--model.name"),
        (["--model.filters", "8", "many"], "--model.filters"),
        (["--data.split", "0.8", "0.2"], "--data.split"),
        (["--data.steps_per_epoch=all"], "--data.steps-per-epoch"),
        (["--data.augment.horizontal_flip=perhaps"], "--data.augment.horizontal-flip"),
        (["--train.epochs"], "--train.epochs"),
        (["extra"], "extra"),
    ],
)
def test_a_value_of_a_wrong_type_is_one_message_that_names_the_flag(
    command: Command, arguments: list[str], named: str
) -> None:
    assert_one_message(command("--exp=quickstart", *arguments), named)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model.alpha=-1"], "model.alpha=-1.0"),
        (["--data.batch_size=0"], "data.batch_size=0"),
        (["--data.classes", "cat"], "data.classes=('cat',)"),
        (["--data.split", "0.8", "0.8", "0"], "data.split=(0.8, 0.8, 0.0)"),
        (["--data.augment.zoom=1"], "data.augment.zoom=1.0"),
        (["--optimizer.learning_rate=nan"], "optimizer.learning_rate=nan"),
        (["--name=a/b"], "name='a/b'"),
    ],
)
def test_an_impossible_value_is_one_line_that_names_the_field(
    command: Command, arguments: list[str], named: str
) -> None:
    finished = command("--exp=quickstart", *arguments)
    assert_one_message(finished, f"error: {named} is not possible: it must be ")
    assert finished.err.count("\n") == 1


def test_an_unknown_experiment_is_answered_with_the_near_names_and_all_of_them(command: Command) -> None:
    finished = command("--exp=mobilenet_tf")
    assert_one_message(finished, "--exp=mobilenet_tf", "did you mean mobilenet_ft", *list_experiments())
    assert_one_message(command("--exp", "mobilenet_tf"), "did you mean mobilenet_ft")


def test_an_unknown_experiment_without_near_names_is_answered_with_all_of_them(command: Command) -> None:
    finished = command("--exp=zzz")
    assert_one_message(finished, "--exp=zzz: no such experiment", *list_experiments())
    assert "did you mean" not in finished.err


def test_without_an_experiment_the_one_thing_asked_for_is_the_experiment(command: Command) -> None:
    for arguments in ([], ["--model.alpha=0.5"], ["--exp"]):
        finished = command(*arguments)
        assert_one_message(finished, "--exp")
        assert "--seed" not in finished.err


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x = 1\nconfig = (\n", ["line 2", "SyntaxError"]),
        ("x = 1\n\nraise ValueError('of mine')\n", ["line 3", "ValueError: of mine"]),
        ("import no_such_module_of_mine\n", ["line 1", "ModuleNotFoundError", "no_such_module_of_mine"]),
        ("def f():\n    return 1 / 0\n\nf()\n", ["line 2", "ZeroDivisionError"]),
        ("x = 1\n", ["config = Config(...)", "found None"]),
        ("config = {'seed': 1}\n", ["config = Config(...)", "{'seed': 1}"]),
        (
            "from cnn_jax.config import Config, DataConfig\nconfig = Config(data=DataConfig(batch_size=0))\n",
            ["data.batch_size=0 is not possible"],
        ),
        ("from cnn_jax.config import Config\nconfig = Config(sede=1)\n", ["line 2", "sede"]),
    ],
    ids=["syntax", "raises", "import", "inner", "no config", "other config", "impossible", "unknown field"],
)
def test_an_experiment_file_that_does_not_work_is_named_with_the_line_and_the_reason(
    command: Command, tmp_path: Path, text: str, named: list[str], relative: bool
) -> None:
    (tmp_path / "mine.py").write_text(text)
    path = "mine.py" if relative else str(tmp_path / "mine.py")
    assert_one_message(command(f"--exp={path}"), f"error: {path}", *named)


def test_an_experiment_file_that_is_missing_is_named(command: Command, tmp_path: Path) -> None:
    assert_one_message(command("--exp=gone/mine.py"), "--exp=gone/mine.py: there is no such file")
    (tmp_path / "folder.py").mkdir()
    assert_one_message(command("--exp=folder.py"), "--exp=folder.py: there is no such file")


@pytest.mark.parametrize("experiment", sorted(list_experiments()))
def test_the_printed_configuration_reads_back_as_the_same(command: Command, experiment: str) -> None:
    finished = command(f"--exp={experiment}", "--print-config")
    assert (finished.code, finished.err) == (0, "")
    assert from_json(finished.out, "printed") == resolve_paths(load_experiment(experiment))


def test_an_experiment_can_be_a_path_or_a_file_in_the_folder_experiments_here(command: Command, tmp_path: Path) -> None:
    text = "from cnn_jax.config import Config\nconfig = Config(name='own', seed=3)\n"
    for name in ("mine.py", "experiments/own.py", "experiments/quickstart.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for experiment in ("mine.py", str(tmp_path / "mine.py"), "own", "quickstart"):
        finished = command("--exp", experiment, "--print-config")
        assert finished.code == 0
        assert from_json(finished.out, "printed") == Config(name="own", seed=3)


def test_an_experiment_file_may_define_dataclasses_of_its_own(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from cnn_jax.config import Config\n"
        "@dataclass\nclass Mine:\n    seed: int = 5\n"
        "config = Config(seed=Mine().seed)\n"
    )
    assert from_json(command("--exp=mine.py", "--print-config").out, "printed").seed == 5


def test_an_experiment_changed_within_its_second_is_read_anew_and_nothing_is_written_beside_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python keeps bytecode by a file's length and second."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "mine" / "own.py"
    path.parent.mkdir()
    for seed in (1, 2):
        path.write_text(f"from cnn_jax.config import Config\n\nconfig = Config(seed={seed})\n")
        os.utime(path, (1, 1))
        assert from_json(command(f"--exp={path}", "--print-config").out, "printed").seed == seed
    assert list(path.parent.iterdir()) == [path]


def test_flags_change_the_experiment_and_have_the_types_of_the_fields(command: Command) -> None:
    finished = command(
        "--exp=mobilenet_ft",
        "--model.alpha=0.5",
        "--model.filters",
        "8",
        "16",
        "--data.augment.horizontal_flip=True",
        "--data.augment.rotation=20",
        "--data.classes",
        "dog",
        "cat",
        "--data.steps_per_epoch=None",
        "--data.split",
        "0.5",
        "0.25",
        "0.25",
        "--data.unreadable=skip",
        "--optimizer.clip_norm=1",
        "--train.tensorboard=False",
        "--seed=7",
        "--print-config",
    )
    assert (finished.code, finished.err) == (0, "")
    start = load_experiment("mobilenet_ft")
    assert repr(from_json(finished.out, "printed")) == repr(
        dataclasses.replace(
            start,
            seed=7,
            model=dataclasses.replace(start.model, alpha=0.5, filters=(8, 16)),
            data=dataclasses.replace(
                start.data,
                augment=dataclasses.replace(start.data.augment, horizontal_flip=True, rotation=20.0),
                classes=("dog", "cat"),
                steps_per_epoch=None,
                split=(0.5, 0.25, 0.25),
                unreadable="skip",
            ),
            optimizer=dataclasses.replace(start.optimizer, clip_norm=1.0),
            train=dataclasses.replace(start.train, tensorboard=False),
        )
    )


def test_augment_stands_for_the_arguments_of_the_course_and_single_flags_change_it(command: Command) -> None:
    plain = from_json(command("--exp=mobilenet_ft", "--print-config").out, "printed")
    usual = from_json(command("--exp=mobilenet_ft", "--augment", "--print-config").out, "printed")
    course = AugmentConfig(
        rotation=10, width_shift=0.1, height_shift=0.1, shear=0.15, zoom=0.1, channel_shift=10, horizontal_flip=True
    )
    assert usual.name == "mobilenet_ft_augmented"  # a run beside the one without
    assert usual == dataclasses.replace(plain, name=usual.name, data=dataclasses.replace(plain.data, augment=course))
    flags = ("--data.augment.horizontal_flip=False", "--name=mine")
    changed = from_json(command("--augment", "--exp", "mobilenet_ft", *flags, "--print-config").out, "printed")
    assert changed.name == "mine"
    assert changed.data.augment == dataclasses.replace(course, horizontal_flip=False)
    assert_one_message(command("--augment"), "--exp")


def test_flags_may_be_written_with_dashes_or_underscores(command: Command) -> None:
    for name in ("--data.steps_per_epoch=3", "--data.steps-per-epoch=3"):
        assert from_json(command("--exp=quickstart", name, "--print-config").out, "printed").data.steps_per_epoch == 3


def test_none_on_the_command_line_undoes_what_the_experiment_sets(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from cnn_jax.config import Config, DataConfig\n"
        "config = Config(data=DataConfig(steps_per_epoch=5, classes=('a', 'b')))\n"
    )
    finished = command("--exp=mine.py", "--data.steps_per_epoch=None", "--data.classes", "None", "--print-config")
    assert from_json(finished.out, "printed") == Config()


def test_the_printed_configuration_has_absolute_paths(command: Command) -> None:
    finished = command("--exp=quickstart", "--data.dataset=folder:photos", "--model.weights=w.h5", "--print-config")
    printed = from_json(finished.out, "printed")
    assert printed.data.dataset == f"folder:{Path.cwd() / 'photos'}"
    assert printed.model.weights == str(Path.cwd() / "w.h5")
    assert resolve_paths(printed) == printed


def test_printing_the_configuration_writes_no_file(command: Command, tmp_path: Path) -> None:
    assert command("--exp=quickstart", "--print-config").code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--exp=quickstart"]], ids=["alone", "with an experiment"])
def test_help_ends_with_code_0_and_names_every_field(command: Command, arguments: list[str]) -> None:
    finished = command(*arguments, "--help-all")
    assert (finished.code, finished.err) == (0, "")
    for name in ["exp", "workdir", "print_config", *field_names(Config())]:
        assert f"--{name.replace('_', '-')} " in finished.out.replace("\n", " ")


def test_help_shows_the_usual_flags_and_those_of_a_group(command: Command) -> None:
    names = [f"--{name.replace('_', '-')}" for name in field_names(Config())]

    def shown(*arguments: str) -> list[str]:
        finished = command(*arguments)
        assert (finished.code, finished.err) == (0, "")
        return re.findall(r"^(--[\w.-]+)", finished.out, re.MULTILINE)

    usual = shown("--help")
    assert len(usual) == 20
    assert {"--exp", "--workdir", "--seed", *command_line.USUAL} < set(usual)
    in_group = [name for name in names if name.startswith("--data.csv.")]
    assert shown("--help", "data.csv") == shown("--exp=quickstart", "--help=data.csv") == in_group
    assert "--data.augment.rand-augment.magnitude" in shown("--help", "data.augment.rand_augment")
    wrong = command("--help", "dates")
    assert wrong.code == 2
    assert "--help dates: there is no such group of flags; there are: distributed, model, data, data.csv" in wrong.err


def test_help_shows_the_values_of_the_experiment(command: Command) -> None:
    assert "(default: 0.001)" in command("--exp=quickstart", "--help").out
    assert "(default: conv_pw_10)" in command("--exp=mobilenet_ft", "--help").out


@pytest.mark.parametrize("tuning", [True, False])
def test_a_process_that_is_started_wrong_ends_with_code_2_and_one_message(tmp_path: Path, tuning: bool) -> None:
    finished = run_process("-m", "cnn_jax.train", "--exp=mobilenet_tf", tuning=tuning, folder=tmp_path)
    assert_one_message(finished, "did you mean mobilenet_ft")


def test_a_misspelt_flag_ends_a_process_with_code_2_before_jax_and_tensorflow_load(tmp_path: Path) -> None:
    arguments = ("-X", "importtime", "-m", "cnn_jax.train", "--exp=quickstart", "--model.alpah=1")
    finished = run_process(*arguments, tuning=True, folder=tmp_path)
    assert_one_message(finished, "--model.alpah")
    imported = {line.rpartition("|")[2].strip() for line in finished.err.splitlines() if line.startswith("import time")}
    assert "cnn_jax.config" in imported
    assert not imported & {"jax", "flax", "tensorflow"}


def test_a_process_prints_its_configuration(tmp_path: Path) -> None:
    arguments = ("-m", "cnn_jax.train", "--exp=quickstart", "--seed=4", "--print-config")
    finished = run_process(*arguments, tuning=True, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    expected = dataclasses.replace(load_experiment("quickstart"), seed=4)
    assert from_json(finished.out, "printed") == expected


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or sys.platform != "linux", reason="glibc alone has tunables")
@pytest.mark.parametrize("tuning", [True, False])
def test_a_command_starts_again_with_the_memory_settings_unless_told_not_to(tmp_path: Path, tuning: bool) -> None:
    code = (
        "import os, sys; from cnn_jax.runtime.tuning import tune_process; tune_process(); "
        "print(os.environ.get('GLIBC_TUNABLES'), sys.argv)"
    )
    started = run_process("-c", code, "an argument", tuning=tuning, folder=tmp_path)
    settings = MALLOC_TUNABLES if tuning else None
    assert (started.code, started.out) == (0, f"{settings} ['-c', 'an argument']\n")
    told = "import cnn_jax, os, sys; print(os.environ.get('GLIBC_TUNABLES'), sys.argv)"
    finished = run_process("-c", told, "an argument", tuning=tuning, folder=tmp_path)
    assert finished.out == "None ['-c', 'an argument']\n"  # a program of the user's is left alone
    command = run_process("-X", "importtime", "-m", "cnn_jax.train", "--help", tuning=tuning, folder=tmp_path)
    assert command.code == 0
    assert command.err.count("cnn_jax.runtime.tuning") == (2 if tuning else 1)
    (tmp_path / "cnn-jax").write_text("import cnn_jax, os; print(os.environ.get('GLIBC_TUNABLES'))")
    assert run_process("cnn-jax", tuning=tuning, folder=tmp_path).out == f"{settings}\n"


def test_without_tensorflow_photographs_are_one_message(
    command: Command, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf.cache_clear()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    arguments = (f"--data.dataset=folder:{image_folder}", "--model.image_size=16", "--workdir=run")
    finished = command("--exp=simple_cnn_cats_dogs", *arguments)
    assert finished.code == 2
    assert re.fullmatch(r"error: TensorFlow .* is not installed: pip install 'cnn_jax\[tensorflow\]'\n", finished.err)


def test_jax_knows_the_settings_by_which_programs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("JAX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path))
    code = (
        "from cnn_jax.runtime import tuning; tuning.keep_compiled_programs(); from jax import config; "
        "print(config.jax_persistent_cache_min_compile_time_secs, config.jax_compilation_cache_dir)"
    )
    finished = run_process("-c", code, tuning=False, folder=tmp_path)
    assert finished.out == f"0.05 {tmp_path / 'compiled'}\n"
