"""Descriptions of layers that a seed has changed: one clear error, or the network that Keras makes of them."""

import copy
import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cnn_jax.errors import ConfigError, WeightsError
from tests.models.keras_networks import images, loaded, own_cnn, probabilities, randomise, saved
from tests.models.keras_reference import quiet_keras

SIZE = 8
QUICK, THOROUGH = 25, 500
STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 10**30, 0.5, -0.0, 1e308, "", "x", "same", "relu", "../../x", "a/b", "\n"),
    *([], {}, [1], [1, 2], [1, 2, 3], [[1, 2], [3, 4]], ["x", 0, 0], {"class_name": "Lambda", "config": {}}),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside of a JSON value."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [(value, key) for key, _ in items] + [place for _, item in items for place in places(item)]


def changed(config: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """One value replaced by a strange one or by another of the description, or left out."""
    config = copy.deepcopy(config)
    found = places(config)
    container, key = found[rng.integers(len(found))]
    kind = rng.integers(4)
    if kind == 0:
        del container[key]
    elif kind == 1:
        other, where = found[rng.integers(len(found))]
        container[key] = copy.deepcopy(other[where])
    else:
        container[key] = copy.deepcopy(STRANGE[rng.integers(len(STRANGE))])
    return config


def outcome(path: Path, pixels: np.ndarray) -> str:
    try:
        network = loaded(path, normalisation="unit")
        if not network.has_top:
            return "no classifier"
        found = probabilities(network, pixels)
    except (WeightsError, ConfigError) as error:
        return "error" if str(path) in str(error) or "model." in str(error) else f"an error without a place: {error}"
    try:
        with quiet_keras():
            model = keras.models.load_model(path, compile=False)
            expected = np.asarray(model(pixels / np.float32(255), training=False))
    except Exception:  # what Keras refuses and we read differs from the original in nothing that counts here
        return "read here alone"
    if expected.shape == found.shape:
        if not np.allclose(expected.sum(-1), 1, atol=1e-3):
            expected = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    return "as Keras"


@pytest.mark.parametrize(
    "count", [pytest.param(QUICK, marks=pytest.mark.long), pytest.param(THOROUGH, marks=pytest.mark.slow)]
)
def test_a_changed_description_is_an_error_or_what_keras_makes_of_it(
    count: int, tmp_path: Path, record_property
) -> None:
    original = saved(randomise(own_cnn(size=SIZE)), tmp_path / "original.keras")
    with zipfile.ZipFile(original) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    endings: Counter[str] = Counter()
    for seed in range(count):
        mutated = changed(config, np.random.default_rng(seed))
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as archive:
            for name, data in {**content, "config.json": json.dumps(mutated).encode()}.items():
                archive.writestr(name, data)
        path = tmp_path / "mutated.keras"
        path.write_bytes(written.getvalue())
        keras.utils.clear_session()
        try:
            endings[outcome(path, images(2, SIZE))] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {json.dumps(mutated)[:3000]}") from error
    for ending, times in endings.items():
        record_property("ending", (ending, times))
    assert endings.keys() <= {"error", "as Keras", "no classifier", "read here alone"}
    assert min(endings["error"], endings["as Keras"]) > 0
