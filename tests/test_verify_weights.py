"""The parity certificate: it passes for this port, and each classic mistake in a port fails it where it starts."""

import builtins
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import verify_weights
from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError, DataError, WeightsError
from cnn_jax.models import layers, model
from cnn_jax.models.architectures import mobilenet
from cnn_jax.models.ops import batch_norm
from cnn_jax.weights import pretrained, verify
from cnn_jax.weights.options import PretrainedConfig
from cnn_jax.weights.verify import Certificate, Difference, certify, made_up_images
from tests.conftest import write_image
from tests.models.keras_reference import application, quiet_keras, randomise, save_legacy

SIZE = 32


def _random_file(folder: Path, *, top: bool) -> Path:
    """A MobileNet of random weights."""
    reference = application(ModelConfig(alpha=0.25, image_size=SIZE), top=top)
    randomise(reference, np.random.default_rng(0))
    path = folder / "random.h5"
    save_legacy(reference, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the classifier of 1000 classes."""
    return _random_file(tmp_path_factory.mktemp("top"), top=True)


@pytest.fixture(scope="module")
def body_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a classifier."""
    return _random_file(tmp_path_factory.mktemp("no_top"), top=False)


def command(file: Path, *flags: str) -> int:
    with quiet_keras():  # Keras warns of sizes without pretrained weights
        return verify_weights.main([f"--model.weights={file}", f"--model.image_size={SIZE}", "--count=2", *flags])


def first_blocks(file: Path) -> Certificate:
    """The comparison of the layers up to the second block, in which every mistake shows."""
    loaded = pretrained.load(PretrainedConfig(weights=str(file), image_size=SIZE), need_top=False)
    few = replace(loaded, model=replace(loaded.model, layers=loaded.model.layers[:16]))
    with quiet_keras():
        return certify(few, made_up_images(2, SIZE))


@pytest.mark.long
def test_a_right_port_is_certified_layer_by_layer(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(file) == 0
    printed = capsys.readouterr().out
    assert hashlib.sha256(file.read_bytes()).hexdigest() in printed
    rows = {line.split("  ")[0].strip(): line.split() for line in printed.splitlines()}
    names = [str(layer.name) for layer in (*mobilenet.body(0.25), *mobilenet.top(1000))]
    for name in ("(normalised images)", *names, "(result, nothing tapped)"):
        assert float(rows[name][-1]) < 1e-4, name
    assert "alpha 0.25, 32 pixels, with classifier" in printed
    assert "same first: 100.0%, same first five: 100.0%" in printed
    assert "equal      every difference" in printed


def _epsilon(patch: pytest.MonkeyPatch) -> None:
    right = batch_norm.inference_factor
    for module in (batch_norm, layers):
        patch.setattr(module, "inference_factor", lambda scale, var, _: right(scale, var, 1e-5))


def _symmetric_padding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mobilenet, "STRIDE_2_PADS", ((1, 0), (1, 0)))  # Keras: one row and column at the end


def _relu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mobilenet, "Activation", lambda kind, name: layers.Activation("relu", name=name))


def _no_preprocessing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(model, "normalise", lambda images, mode: images.astype(jnp.float32))


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("break_port", "starts_at"),
    [
        (_epsilon, "conv1_bn"),
        (_symmetric_padding, "conv_pad_2"),
        (_relu, "conv1_relu"),
        (_no_preprocessing, "(normalised images)"),
    ],
)
def test_a_broken_port_is_refused_from_the_layer_on_at_which_it_starts(
    body_file: Path, monkeypatch: pytest.MonkeyPatch, break_port: Any, starts_at: str
) -> None:
    break_port(monkeypatch)
    certificate = first_blocks(body_file)
    first = certificate.first_above(1e-4)
    assert first is not None
    assert first.layer == starts_at
    assert not certificate.differences[-1].within(1e-4)
    said = verify_weights.describe(certificate, 1e-4)
    assert said[-1] == f"DIFFERENT  above 0.0001 of the scale from {starts_at} on"
    assert next(line for line in said if line.startswith(starts_at)).endswith("ABOVE")


@pytest.mark.long
def test_the_same_layers_of_a_right_port_pass(body_file: Path) -> None:
    certificate = first_blocks(body_file)
    assert certificate.first_above(1e-4) is None
    assert len(certificate.differences) == 1 + 16 + 1


def test_above_the_tolerance_the_exit_code_is_1(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Certificate("0", "1", "3", 2, (Difference("a", 1e-6, 1.0), Difference("b", 3e-4, 2.0)), None, None)
    monkeypatch.setattr(verify, "certify", lambda loaded, images: found)
    assert command(file) == 1
    assert "DIFFERENT  above 0.0001 of the scale from b on" in capsys.readouterr().out
    assert command(file, "--tolerance=2e-4") == 0


def test_nan_and_infinite_differences_are_not_within_any_tolerance() -> None:
    assert not Difference("layer", float("nan"), 1.0).within(1.0)
    assert not Difference("layer", float("inf"), 1.0).within(1e9)
    assert Difference("layer", 0.0, 0.0).within(1e-9)


@pytest.mark.long
def test_real_weights_without_classifier_are_certified_on_photographs(
    real_weights: Path, real_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        f"--model.weights={real_weights / 'mobilenet_2_5_224_tf_no_top.h5'}",
        f"--images={real_data / 'cats_and_dogs' / 'validation'}",
        "--count=3",
    ]
    assert verify_weights.main(flags) == 0
    printed = capsys.readouterr().out
    assert "alpha 0.25, 224 pixels, feature maps only" in printed
    assert "f313cee49f5d33dfb06f2b255c4adb64" in printed
    assert "on 3 images" in printed
    assert "same first" not in printed


def test_images_that_cannot_be_read_are_left_out_and_none_at_all_is_an_error(file: Path, tmp_path: Path) -> None:
    arguments = verify_weights.Arguments(images=tmp_path, count=3)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="can be read"):
        verify_weights._read(arguments, SIZE)
    write_image(tmp_path / "b.png", np.full((9, 12, 3), 7, np.uint8))
    np.testing.assert_array_equal(verify_weights._read(arguments, SIZE), np.full((1, SIZE, SIZE, 3), 7, np.uint8))


def test_the_made_up_images_reach_both_ends_and_differ() -> None:
    images = made_up_images(6, (40, 27))
    assert images.shape == (6, 40, 27, 3)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert len({image.tobytes() for image in images}) == 6


def test_without_keras_the_message_says_how_to_get_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = builtins.__import__

    def blocked(name: str, *args: Any) -> Any:
        if name == "keras":
            raise ImportError(name)
        return right(name, *args)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(WeightsError, match="pip install keras"):
        command(file)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model.weights=none"], r"model\.weights=none is not possible"),
        (["--model.weights=imagenet", "--model.name=simple_cnn"], r"simple_cnn"),
        (["--count=0"], r"--count=0"),
        (["--tolerance=-1"], r"--tolerance=-1\.0"),
        (["--tolerance=nan"], r"--tolerance=nan"),
    ],
)
def test_wrong_use_is_one_message(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        verify_weights.main(flags)


def test_a_file_of_another_network_is_refused(file: Path) -> None:
    with pytest.raises(WeightsError, match="does not fit the model"):
        verify_weights.main([f"--model.weights={file}", "--model.name=vgg16"])
    with pytest.raises(WeightsError, match="does not fit the model"):
        command(file, "--model.alpha=0.5")
