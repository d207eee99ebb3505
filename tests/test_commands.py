"""What all commands have in common: help, and one message with exit code 2 for wrong use, before JAX loads."""

import re
from pathlib import Path

import pytest

from tests.test_command_line import assert_one_message, run_process

COMMANDS = {
    "summarize": ["--exp=quickstart"],
    "evaluate": ["--checkpoint=run", "--compare=other", "--flip-averaging"],
    "compare": ["a", "b", "--split=test", "--output=c.html"],
    "predict": ["x.png"],
    "check_data": ["photos", "--html=a.html"],
    "explain": ["x.png", "--layers", "conv1"],
    "serve": ["run", "--port=0", "--host=0.0.0.0"],
    "verify_weights": [],
    "export": ["--checkpoint=run", "--format=keras-h5"],
    "sweep": ["--exp=quickstart", "--freeze-until=none", "--learning-rates=1e-3", "--seeds=1"],
}
"""Command to flags that it takes."""


@pytest.mark.sample(1)
@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_the_command_does_and_names_its_flags(command: str, tmp_path: Path) -> None:
    finished = run_process("-m", f"cnn_jax.{command}", "--help", tuning=False, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert f"usage: python -m cnn_jax.{command}" in finished.out
    for flag in COMMANDS[command]:
        assert flag.partition("=")[0] in finished.out or not flag.startswith("--")


@pytest.mark.sample(1)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_flag_is_one_message_before_jax_and_tensorflow_load(command: str, tmp_path: Path) -> None:
    arguments = ("-X", "importtime", "-m", f"cnn_jax.{command}", *COMMANDS[command], "--misspelt=1")
    finished = run_process(*arguments, tuning=False, folder=tmp_path)
    assert_one_message(finished, "--misspelt")
    imported = set(re.findall(r"\| +(\S+)$", finished.err, re.MULTILINE))
    assert "cnn_jax.cli.command_line" in imported
    assert not imported & {"jax", "flax", "tensorflow", "keras"}


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["summarize", "--exp=zzz"], "--exp=zzz: no such experiment"),
        (["predict", "gone.png"], "gone.png: there is no such file"),
        (["compare", "gone", "gone"], "gone: there is no such directory"),
        (["check_data", "gone"], "there is no folder gone"),
        (["explain", "gone.png"], "gone.png: there is no such file"),
        (["serve", "gone", "--port=0"], "gone: there is no such directory"),
        (["verify_weights", "--model.weights=gone.h5"], "model.weights=gone.h5: there is no such file"),
        (["export", "--checkpoint=gone", "--format=stablehlo"], "--checkpoint=gone: there is no such directory"),
        (["sweep", "--exp=quickstart"], "nothing to compare: give --freeze-until"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake_of_the_user_is_one_message_and_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    finished = run_process("-m", f"cnn_jax.{arguments[0]}", *arguments[1:], tuning=False, folder=tmp_path)
    assert_one_message(finished, f"error: {message}")


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(tmp_path: Path) -> None:
    code = (
        "import os, sys; from cnn_jax.cli import command_line\n"
        "def main(argv):\n"
        "    os.close(1) or os.dup2(write, 1)\n"
        "    print('x' * 100_000, flush=True)\n"
        "read, write = os.pipe(); os.close(read)\n"
        "command_line.run(main)"
    )
    finished = run_process("-c", code, tuning=False, folder=tmp_path)
    assert (finished.code, finished.err) == (1, "")
