"""Too little memory on a device is one message with numbers and flags; what was saved stays."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest

from cnn_jax.errors import RunFailed
from cnn_jax.runtime import memory
from cnn_jax.training.epochs import Epochs
from tests.training.helpers import SMALL_CNN, flags, newest_checkpoint, train, with_

CONFIG = with_(SMALL_CNN, model={"image_size": 224}, data={"batch_size": 48}, optimizer={"microbatches": 2})


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory allocating 25769803776 bytes.", "XLA asked for 25.77 GB"),
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1.50GiB.", "XLA asked for 1.61 GB"),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 17.20G of 15.48G hbm.", "asked for 18.47 GB"),
        ("RESOURCE_EXHAUSTED: no more is said", "too little memory, a training step"),
    ],
)
def test_the_message(text: str, asked: str) -> None:
    with (
        pytest.raises(RunFailed) as caught,
        memory.explained(CONFIG, "training", lambda: 2 * 10**9, lambda: 12),
    ):
        raise jax.errors.JaxRuntimeError(text)
    message = str(caught.value).replace("memory: a", "memory, a")
    assert asked in message
    assert "a training step needs 2.00 GB" in message
    assert "The newest checkpoint, of step 12, is good" in message
    for flag in (
        "--optimizer.microbatches=4 (the same batch in 4 parts)",
        "--data.batch_size=24 (now 48)",
        "--train.precision=bfloat16",
        "--model.image_size=160 (now 224)",
        "--data.eval_batch_size=32",
    ):
        assert flag in message
    wide = with_(CONFIG, model={"image_size": (96, 128)})
    with (
        pytest.raises(RunFailed, match=r"--model\.image_size=64x96 \(now 96x128\)"),
        memory.explained(wide, "training", lambda: None, lambda: None),
    ):
        raise jax.errors.JaxRuntimeError(text)


def test_other_errors_of_xla_are_left_as_they_are_and_no_impossible_flag_is_named() -> None:
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"),
        memory.explained(CONFIG, "training", lambda: None, lambda: None),
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
    tiny = with_(
        CONFIG,
        model={"image_size": 8},
        data={"batch_size": 3, "eval_batch_size": 1},
        optimizer={"microbatches": 3},
        train={"precision": "bfloat16"},
    )
    with pytest.raises(RunFailed) as caught, memory.explained(tiny, "training", lambda: None, lambda: None):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")
    assert str(caught.value).endswith("Nothing was saved yet. Each of these takes less, in a new --workdir: "
                                      "--data.batch_size=1 (now 3)")  # fmt: skip


@pytest.mark.long
def test_the_checkpoint_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Epochs._run

    def exhausted(self: Epochs, state, *arguments):
        if int(state.step) == 8:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1000000000 bytes.")
        return run(self, state, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Epochs, "_run", exhausted)
        with pytest.raises(RunFailed, match=r"training: .* XLA asked for 1\.00 GB, a training step needs [\d.]+ GB"):
            train(SMALL_CNN, tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run") == 6
    assert train(SMALL_CNN, tmp_path / "run").result["status"] == "completed"


@pytest.mark.slow
def test_a_batch_that_is_really_too_large(tmp_path: Path) -> None:
    """The process has two gigabytes on top of what it takes at its start, and the step asks for more."""
    config = with_(
        SMALL_CNN,
        model={"image_size": 512, "filters": (64, 64)},
        data={"batch_size": 64, "steps_per_epoch": 1, "augment": SMALL_CNN.data.augment.__class__()},
        train={"epochs": 1},
    )
    program = (
        "import resource, sys; from cnn_jax import train; from cnn_jax.cli import command_line\n"
        "import jax; jax.numpy.ones(1).block_until_ready()\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (size + {2 * 2**30},) * 2)\ncommand_line.run(train.main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *flags(config, tmp_path / "run"), "--report=False"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr[-3000:]
    assert done.stderr.startswith("error: training: cpu has too little memory: XLA asked for"), done.stderr[-3000:]
    assert "Nothing was saved yet" in done.stderr
