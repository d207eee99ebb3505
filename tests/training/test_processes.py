"""What the processes of a run tell each other fits into what they tell it in."""

import json

import pytest

from cnn_jax.errors import DataError
from cnn_jax.training.run.processes import LONGEST_TEXT, told_as


@pytest.mark.parametrize("character", ["a", "猫", "\x1b", "🐈", "\udce9", '"'])
@pytest.mark.parametrize("length", [0, 100, 100_000])
def test_an_error_of_any_length_arrives_as_json(character: str, length: int) -> None:
    told = told_as(DataError(f"begin{character * length}"))
    assert len(told.encode()) <= LONGEST_TEXT
    kind, message = json.loads(told)
    assert kind == "DataError"
    assert f"begin{character * length}".startswith(message)
    assert len(message) == 5 + length if length <= 100 else len(message) > 250
