"""What one file is, and that the check refuses what training refuses."""

import numpy as np
import pytest

from cnn_jax.checking import inspection
from cnn_jax.checking.inspection import Facts, inspect
from cnn_jax.data.decode import decode
from cnn_jax.io.tensorflow import read_errors
from tests.checking.defects import bomb, photograph
from tests.checking.test_duplicates import as_jpeg

PHOTOGRAPH = as_jpeg(photograph(0, (1030, 1024)), 85)
"""Large enough to be decoded at an eighth of its size."""


def facts(content: bytes, suffix: str = ".jpg") -> Facts:
    return inspect(lambda: content, suffix, "white")


def reader_takes(content: bytes) -> bool:
    try:
        decode(content, "white")
    except read_errors():
        return False
    return True


def test_the_small_picture_is_the_picture() -> None:
    small = inspection.small_picture(PHOTOGRAPH, inspection.read_header(PHOTOGRAPH), "white")
    whole = decode(PHOTOGRAPH, "white").numpy()[:1024, :1024].reshape(128, 8, 128, 8, 3).mean((1, 3))
    assert small.shape == (128, 129, 3)
    assert np.abs(small[:, :128].astype(float) - whole).mean() < 2


def test_damaged_files_are_unreadable_exactly_where_training_cannot_read_them() -> None:
    """The check decodes at an eighth of the size, training at the whole."""
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(40):
        damaged = bytearray(PHOTOGRAPH[: rng.integers(len(PHOTOGRAPH))] if number % 2 else PHOTOGRAPH)
        for place in rng.integers(min(len(damaged), 700 if number % 4 else 2**30), size=3) if damaged else ():
            damaged[place] = rng.integers(256)
        takes = reader_takes(bytes(damaged))
        assert facts(bytes(damaged)).is_readable == takes
        refused += not takes
    assert 10 < refused < 35


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty_file"),
        (b"<html>404</html>", "unreadable"),
        (PHOTOGRAPH[:-2000], "unreadable"),
        (bomb(60_000, 60_000), "too_many_pixels"),
        (bomb(2**31 - 1, 2**31 - 1), "too_many_pixels"),
    ],
)
def test_what_training_cannot_read_has_one_reason(content: bytes, kind: str) -> None:
    found = facts(content, ".png" if kind == "too_many_pixels" else ".jpg")
    assert [name for name, _ in found.found] == [kind]
    assert not found.is_readable
    assert not reader_takes(content)


def test_a_file_that_cannot_be_opened_says_why() -> None:
    def read() -> bytes:
        raise PermissionError(13, "Permission denied")

    assert inspect(read, ".jpg", "white").found == (("unreadable", "Permission denied"),)


def test_the_format_counts_and_not_the_case_of_the_suffix() -> None:
    assert facts(PHOTOGRAPH, ".JPEG").found == ()
    assert facts(PHOTOGRAPH, ".png").found == (("extension_lies", "it is JPEG"),)
    assert inspect(lambda: PHOTOGRAPH, None, "white").found == ()
