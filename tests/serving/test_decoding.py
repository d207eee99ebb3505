"""The processes that decode: the pixels of the classifier, and pictures that end one, or never end."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.preprocess import Resize
from cnn_jax.errors import DataError
from cnn_jax.serving import decoder
from cnn_jax.serving.decoder import Recipe
from cnn_jax.serving.decoding import Decoders
from cnn_jax.serving.limits import Limits
from tests.checking.defects import png
from tests.data.pictures import encode, photograph, see_through

RECIPES = [
    Recipe("white", Resize(8)),
    Recipe("black", Resize((5, 7), "crop")),
    Recipe("white", Resize(9, interpolation="nearest")),
]


def run(work: Callable[[Decoders], Awaitable[None]], limits: Limits | None = None, count: int = 1) -> None:
    async def running() -> None:
        decoders = Decoders(RECIPES, limits or Limits(), count)
        await decoders.start()
        try:
            await work(decoders)
        finally:
            await decoders.stop()

    asyncio.run(running())


def processes() -> set[int]:
    """Of this process's, those that decode."""
    found = set()
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            if b"cnn_jax.serving.decoder" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(int(child))
    return found


def test_pixels_are_those_of_the_recipes_and_a_damaged_picture_is_told_why() -> None:
    async def work(decoders: Decoders) -> None:
        encoded = encode(see_through(), "PNG")
        white, black, nearest = await decoders.decode(encoded)
        for background, pixels, resize in (("white", white, Resize(8)), ("black", black, Resize((5, 7), "crop"))):
            canvas = Image.new("RGB", see_through().size, background)
            canvas.paste(see_through(), mask=see_through())
            np.testing.assert_array_equal(pixels, np.asarray(resize(np.asarray(canvas))))
        assert nearest.shape == (9, 9, 3)
        with pytest.raises(DataError, match=r"[Tt]runcated"):
            await decoders.decode(encode(photograph(), "JPEG")[:600])
        with pytest.raises(DataError, match="it is empty"):
            await decoders.decode(b"")
        answers = await asyncio.gather(*(decoders.decode(encoded) for _ in range(5)))
        for answer in answers:
            np.testing.assert_array_equal(answer[0], white)
        assert decoders.busy == 0

    run(work)
    assert not processes()


def test_a_process_that_a_picture_ends_or_stops_is_replaced() -> None:
    async def work(decoders: Decoders) -> None:
        encoded = encode(photograph(), "PNG")
        expected = await decoders.decode(encoded)
        for number, message in (
            (signal.SIGSEGV, "its decoder failed on it"),
            (signal.SIGSTOP, "more than 3 s to decode"),
        ):
            (process,) = processes()
            os.kill(process, number)
            with pytest.raises(DataError, match=message):
                await decoders.decode(encoded)
            for found, wanted in zip(await decoders.decode(encoded), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
            assert process not in processes()

    run(work, replace(Limits(), decode_seconds=3.0))
    assert not processes()


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (png(3000, 1000, 8, bytes(9_001_000)), r"claims more than 2,000,000 pixels"),
        (b"\xff\xd8" + b"\xff\xda" * 101, r"a JPEG of more than 100 scans"),
    ],
)
def test_what_is_too_much_is_refused_by_its_header(encoded: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decoder.decode(encoded, RECIPES, 2_000_000)


def test_a_progressive_photograph_has_few_scans() -> None:
    assert encode(photograph(), "JPEG", progressive=True).count(b"\xff\xda") < 20


CONFINED = """
import numpy, os, sys
from cnn_jax.serving import decoder
decoder._confine(1_000_000)
print("said by a library")
try:
    numpy.ones(2**30, numpy.uint8)
    os._exit(1)
except MemoryError:
    pass
try:
    with open("kept", "w") as file:
        file.write("x" * 10_000)
except OSError:
    os._exit(0)
os._exit(2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
def test_the_process_takes_no_more_than_its_memory_and_writes_nothing(tmp_path: Path) -> None:
    import subprocess

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", CONFINED], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not (tmp_path / "kept").exists() or not (tmp_path / "kept").read_bytes()
