"""A first start on a machine without a network: one message, in seconds, with all that is missing."""

import os
from pathlib import Path

import pytest

from cnn_jax import train
from cnn_jax.errors import FetchError, UserError
from cnn_jax.weights import catalog
from tests.conftest import free_port

NOWHERE = "http://127.0.0.1"


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights, no data, and an address at which nobody answers, for both."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.image_classification.cats_vs_dogs import CatsVsDogs

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CNN_JAX_WEIGHTS", raising=False)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(catalog, "KERAS_APPLICATIONS", f"{NOWHERE}:{free_port()}")
    monkeypatch.setattr(CatsVsDogs, "url_infos", {f"{NOWHERE}:{free_port()}/cats.zip": None})
    assert tfds.builder("cats_vs_dogs", data_dir=str(tmp_path / "data")).url_infos
    return tmp_path


def test_one_message_names_what_is_missing_where_it_belongs_and_what_works(empty_machine: Path) -> None:
    run = empty_machine / "run"
    command = ["--exp=mobilenet_ft", f"--workdir={run}", f"--data.data_dir={empty_machine / 'data'}"]
    with pytest.raises(UserError) as ended:
        train.main(command)
    message = str(ended.value)
    for part in (
        "mobilenet_1_0_224_tf_no_top.h5 (no connection to 127.0.0.1)",
        catalog.KERAS_APPLICATIONS,
        str(empty_machine / "cache" / "weights"),
        "CNN_JAX_WEIGHTS",
        "data.dataset=tfds:cats_vs_dogs (no connection to 127.0.0.1)",
        str(empty_machine / "data" / "cats_vs_dogs"),
        "--data.data_dir",
        "--data.dataset=folder:DIR",
    ):
        assert message.count(part) == 1, part
    assert message.endswith("Without a network, this works: python -m cnn_jax.train --exp=quickstart")
    assert not run.exists()


def test_an_error_of_another_process_has_the_way_on_once() -> None:
    first = FetchError("a (no connection)")
    assert str(FetchError(f"in process 1: {first}")).count("Without a network") == 1
