"""A file that does not fit says what it is, and the flags that fit it."""

from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import WeightsError
from cnn_jax.models.building import build, build_imagenet
from cnn_jax.weights import keras_description
from cnn_jax.weights.readers import keras_h5
from cnn_jax.weights.recognition import recognised
from cnn_jax.weights.transfer import merge
from tests.models.keras_reference import quiet_keras, save_legacy

VGG, SMALL = {"image_size": 96}, {"image_size": 32}
SLOW_FAMILIES = (
    *("InceptionV3", "Xception", "ResNet50V2", "DenseNet121", "InceptionResNetV2", "NASNetMobile"),
    *("EfficientNetV2B0", "ConvNeXtTiny"),
)
"""Of Keras Applications, the smallest of each."""


def leaves(name: Any, *, top: bool = False, classes: int | None = None, **fields: Any) -> dict[str, Any]:
    """Arrays of the architecture as pretrained, without its classifier unless `top`; or of a run with so many classes.

    They take no memory.
    """
    config = ModelConfig(name, weights="none", **fields)
    model = build_imagenet(config) if classes is None else build(config, classes)
    last = {"fc1", "fc2", "predictions", "conv_preds"}
    return {
        collection: {
            layer: {leaf: np.broadcast_to(np.float32(0), value.shape) for leaf, value in of.items()}
            for layer, of in layers.items()
            if top or classes is not None or layer not in last
        }
        for collection, layers in model.shapes.items()
    }


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (lambda: leaves("vgg16", **VGG), "VGG16, without its top: --model.name=vgg16 --model.top=pool"),
        (
            lambda: leaves("vgg19", top=True, **VGG),
            "VGG19, with a classifier of 1,000 classes: --model.name=vgg19 --model.top=fc --model.image_size=96",
        ),
        (
            lambda: leaves("mobilenet", alpha=0.25, **SMALL),
            "MobileNet of width 0.25, without its top: --model.name=mobilenet --model.alpha=0.25",
        ),
        (
            lambda: leaves("mobilenet", alpha=0.5, classes=7, **SMALL),
            "MobileNet of width 0.5, with a classifier of 7 classes: --model.name=mobilenet --model.alpha=0.5",
        ),
        (
            lambda: leaves("mobilenet_v2", alpha=0.35, top=True, **SMALL),
            "MobileNetV2 of width 0.35, with a classifier of 1,000 classes: --model.name=mobilenet_v2 "
            "--model.alpha=0.35",
        ),
        (
            lambda: leaves("simple_cnn", filters=(4, 8), kernel_size=5, batch_norm=True, channels=1, classes=2),
            "a simple_cnn of 2 convolutions: --model.name=simple_cnn --model.filters 4 8 --model.kernel_size=5 "
            "--model.batch_norm=True --model.channels=1",
        ),
    ],
)
def test_each_architecture_width_and_top_is_told(file: Any, said: str) -> None:
    assert recognised(file()).removeprefix("It is ") == said


def test_what_is_unknown_is_not_guessed_and_the_error_says_what_is_known() -> None:
    assert recognised({"params": {"a": {"kernel": np.zeros(())}}, "batch_stats": {}}) == ""
    model = build(ModelConfig("vgg16", image_size=32, top="fc"), 2)
    wanted = {"new_layers": model.new_layers, "replaced_layers": model.replaced_layers, "depthwise_layers": ()}
    with pytest.raises(WeightsError, match=r"nothing was loaded\. It is VGG16, without its top: .*--model\.top=pool\."):
        merge(model.shapes, leaves("vgg16", image_size=32), source="vgg.h5", **wanted)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (lambda: leaves("vgg16", **VGG), r"It is VGG16, without its top: --model\.name=vgg16\.\n"),
        (
            lambda: leaves("simple_cnn", filters=(4,), classes=2),
            r"It is a simple_cnn of 1 convolutions, for training alone: --model\.name=simple_cnn",
        ),
    ],
)
def test_a_network_that_is_run_as_it_is_gets_no_flags_that_its_command_lacks(file: Any, said: str) -> None:
    wanted = {"new_layers": (), "replaced_layers": (), "depthwise_layers": ()}
    with pytest.raises(WeightsError, match=said):
        merge(build_imagenet(ModelConfig("mobilenet", **SMALL)).shapes, file(), source="file.h5", **wanted)


@pytest.mark.long
@pytest.mark.parametrize(
    "network",
    [
        *("ResNet50", "MobileNetV3Small", "EfficientNetB0"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_FAMILIES),
    ],
)
def test_weights_of_families_of_keras_applications_are_told_by_their_layers_in_both_layouts(
    network: str, tmp_path: Path
) -> None:
    keras.utils.clear_session()
    with quiet_keras():
        model = getattr(keras.applications, network)(weights=None, include_top=False, input_shape=(96, 96, 3))
        model.save_weights(tmp_path / "model.weights.h5")
        save_legacy(model, tmp_path / "model.h5")
    said = f"It has the layers of {network} of Keras Applications, or of one of its family: --model.name=keras"
    for name in ("model.weights.h5", "model.h5"):
        assert keras_h5.identified(tmp_path / name).startswith(said)


class Own(keras.layers.Layer):
    """With an array that no rule reads."""

    def build(self, shape: Any) -> None:
        self.add_weight(name="mine", shape=(2,))

    def call(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize("known", [True, False])
def test_a_file_with_layers_that_no_rule_reads_says_what_it_is_where_it_is_known(known: bool, tmp_path: Path) -> None:
    """By the name of one layer: Xception's block2_sepconv1."""
    keras.utils.clear_session()
    layer = keras.layers.SeparableConv2D(2, 3, name="block2_sepconv1") if known else Own(name="own")
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    with quiet_keras():
        model.save_weights(tmp_path / "model.weights.h5")
        save_legacy(model, tmp_path / "model.h5")
    sentence = "It has the layers of Xception of" if known else "VGG and MobileNet have no such layer"
    for path in (tmp_path / "model.weights.h5", tmp_path / "model.h5"):
        with pytest.raises(WeightsError, match=rf"no rule reads.*\. {sentence}") as raised:
            keras_h5.read(path)
        way = "--model.weights=keras:Xception" if known else "--model.weights=keras:NAME"
        assert way in str(raised.value)
        alone = "does not say of which layers. " + (sentence if known else "For model.name=keras save the whole model")
        with pytest.raises(WeightsError, match=alone):
            keras_description.network(path)


def test_a_file_whose_layers_cannot_be_named_either_is_one_error(tmp_path: Path) -> None:
    """A damaged one: no rule reads the first array, and the second is not there."""
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["layer_names"] = [b"own"]
        group = file.create_group("own")
        group.attrs["weight_names"] = [b"own/mine", b"own/gone"]
        group["own/mine"] = np.zeros(2, np.float32)
    with pytest.raises(WeightsError, match=r"no rule reads.* VGG and MobileNet have no such layer"):
        keras_h5.read(tmp_path / "model.h5")
    assert keras_h5.identified(tmp_path / "model.h5") == ""
