"""Augmentation inside the training step: the same step on images that were augmented before, and whole runs."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.config import AugmentConfig, CheckpointConfig
from cnn_jax.data.array_batches import training_rows
from cnn_jax.data.augment.device import augment_batch, example_keys, side
from cnn_jax.errors import ConfigError
from cnn_jax.training import resident, resume
from cnn_jax.training.run.mesh import Mesh
from cnn_jax.training.step import Augmentation, StepOptions, make_train_step
from tests.training.helpers import SMALL_CNN, assert_identical, final_state, metrics, stop_after, train, with_
from tests.training.test_resident import BATCH, EXAMPLES, start, views
from tests.training.test_step import NOTHING, small_cnn

FLIPS = AugmentConfig(horizontal_flip=True, brightness=(0.5, 1.5), on="device")
RUN = with_(SMALL_CNN, data={"augment": replace(SMALL_CNN.data.augment, on="device", mixup=0.2)})


@pytest.mark.long
def test_each_visit_of_an_image_is_changed_by_a_key_of_its_own() -> None:
    mesh, labels = Mesh.create(), np.arange(EXAMPLES, dtype=np.int32) % 4
    state, optimizer = start(mesh)
    other, _ = start(mesh)
    plain = make_train_step(small_cnn(), optimizer, NOTHING, mesh)
    inside = make_train_step(small_cnn(), optimizer, NOTHING, mesh, StepOptions(augmentation=Augmentation(FLIPS, 6)))
    for number, batch in zip(range(8), training_rows(views(1), labels, BATCH, 3), strict=False):
        turn, step = divmod(number, 6)
        keys = example_keys(jax.random.key(0), turn, np.arange(step * BATCH, (step + 1) * BATCH, dtype=np.int32))
        changed = np.asarray(augment_batch(batch["image"], keys, FLIPS))
        assert (changed != batch["image"]).any()
        state, expected = plain(state, mesh.put_batch(changed), mesh.put_batch(batch["label"]))
        other, found = inside(other, *(mesh.put_batch(batch[key]) for key in ("image", "label")))
        assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)


@pytest.mark.long
def test_images_on_the_device_are_augmented_as_those_from_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(RUN, tmp_path / "host")
    monkeypatch.setattr(resident, "device_bytes", lambda: 2**30)
    train(RUN, tmp_path / "device")
    for line, other in zip(metrics(tmp_path / "host"), metrics(tmp_path / "device"), strict=True):
        assert other.pop("split") == line.pop("split")
        assert other == pytest.approx(line, rel=1e-4)


@pytest.mark.long
def test_a_run_goes_on_bit_exactly_and_on_the_side_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(
        with_(RUN, data={"augment": replace(RUN.data.augment, on="auto")}), checkpoint=CheckpointConfig(every_steps=4)
    )
    with monkeypatch.context() as patched:
        patched.setattr(resume, "side", lambda _: "device")  # as on a GPU
        train(config, tmp_path / "whole")
        stop_after(8, patched)
        train(config, tmp_path / "run")
    capsys.readouterr()
    train(config, tmp_path / "run")
    assert "augment    images on the device" in capsys.readouterr().out
    assert_identical(final_state(config, tmp_path / "run"), final_state(config, tmp_path / "whole"))
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


@pytest.mark.parametrize(
    ("fields", "sides"),
    [
        ({"horizontal_flip": True}, ("host", "device", "host")),
        ({"horizontal_flip": True, "on": "host"}, ("host", "host", "host")),
        ({"horizontal_flip": True, "on": "device"}, ("device", "device", "device")),
        ({"on": "device"}, ("host", "host", "host")),
        ({"crop_area": (0.5, 1.0)}, ("host", "host", "host")),
        ({"crop_area": (0.5, 1.0), "on": "device"}, (None, None, None)),
        ({"rotation": 10, "on": "device"}, ("device", "device", None)),
    ],
)
def test_the_side_follows_from_the_configuration_and_the_platform(
    fields: dict, sides: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for platform, expected in zip(("cpu", "gpu", "tpu"), sides, strict=True):
        monkeypatch.setattr(jax, "default_backend", lambda platform=platform: platform)
        if expected is None:
            with pytest.raises(ConfigError, match=r"data\.augment\.on=device is not possible: "):
                side(AugmentConfig(**fields))
        else:
            assert side(AugmentConfig(**fields)) == expected
