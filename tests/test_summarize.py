"""The summarize command: published numbers, and nothing read or allocated."""

import json
from pathlib import Path

import jax
import pytest

from cnn_jax import summarize
from cnn_jax.errors import ConfigError
from cnn_jax.training.freezing import Freezing, count
from tests.conftest import write_image

RECEPTIVE_FIELDS = {
    "conv1": (3, 2),
    "conv_pw_1": (7, 2),
    "conv_pw_2": (11, 4),
    "conv_pw_3": (19, 4),
    "conv_pw_4": (27, 8),
    "conv_pw_5": (43, 8),
    "conv_pw_6": (59, 16),
    "conv_pw_9": (155, 16),
    "conv_pw_10": (187, 16),
    "conv_pw_11": (219, 16),
    "conv_pw_12": (251, 32),
    "conv_pw_13_relu": (315, 32),
}
"""Layer to (receptive field, stride) of MobileNet, in pixels."""


def _json(capsys: pytest.CaptureFixture[str], *flags: str) -> dict:
    assert summarize.main([*flags, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("alpha", "size", "parameters", "statistics", "mega_macs"),
    [(1.0, 224, 4_253_864, 21_888, 568.7), (0.25, 128, 475_544, 5_472, 14)],
)
def test_mobilenet_with_1000_classes_has_the_published_numbers(
    capsys: pytest.CaptureFixture[str], alpha: float, size: int, parameters: int, statistics: int, mega_macs: float
) -> None:
    flags = ["--exp=mobilenet_ft", f"--model.alpha={alpha}", f"--model.image_size={size}", "--classes=1000"]
    summary = _json(capsys, *flags)
    assert (summary["parameters"], summary["batch_statistics"]) == (parameters, statistics)
    assert summary["macs"] / 1e6 == pytest.approx(mega_macs, abs=0.05 if size == 224 else 0.5)


@pytest.mark.parametrize(
    ("name", "parameters", "giga_macs"), [("vgg16", 138_357_544, 15.47), ("vgg19", 143_667_240, 19.63)]
)
def test_vgg_with_1000_classes_has_the_published_numbers(
    capsys: pytest.CaptureFixture[str], name: str, parameters: int, giga_macs: float
) -> None:
    flags = (f"--model.name={name}", "--model.top=fc", "--classes=1000", "--train.freeze_until=head")
    summary = _json(capsys, "--exp=mobilenet_ft", *flags)
    assert summary["parameters"] == parameters
    assert summary["macs"] / 1e9 == pytest.approx(giga_macs, abs=0.005)
    layers = {layer["name"]: layer for layer in summary["layers"]}
    poolings = [(layers[f"block{i}_pool"]["receptive_field"], layers[f"block{i}_pool"]["stride"]) for i in (1, 2)]
    assert poolings == [(6, 2), (16, 4)]
    if name == "vgg16":
        deeper = [(layers[f"block{i}_pool"]["receptive_field"], layers[f"block{i}_pool"]["stride"]) for i in (3, 4, 5)]
        assert deeper == [(44, 8), (100, 16), (212, 32)]


def test_the_course_vgg_trains_8194_of_134268738_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--model.name=vgg16", "--model.top=fc", "--classes=2", "--train.freeze_until=head")
    summary = _json(capsys, "--exp=mobilenet_ft", *flags)
    assert (summary["parameters"], summary["trainable"]) == (134_268_738, 8_194)


def test_a_residual_network_is_walked_along_its_longest_path(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--model.name=mobilenet_v2", "--classes=1000", "--train.freeze_until=none")
    summary = _json(capsys, "--exp=mobilenet_ft", *flags)
    assert summary["parameters"] == 3_538_984  # keras.applications.MobileNetV2().count_params()
    assert summary["macs"] / 1e6 == pytest.approx(300, abs=1)  # table 4 of the paper
    layers = {layer["name"]: layer for layer in summary["layers"]}
    assert layers["block_2_add"]["receptive_field"] == layers["block_2_project"]["receptive_field"]


def test_the_layers_of_mobilenet_see_and_step_as_its_geometry_says(capsys: pytest.CaptureFixture[str]) -> None:
    layers = {layer["name"]: layer for layer in _json(capsys, "--exp=mobilenet_ft")["layers"]}
    assert {n: (layers[n]["receptive_field"], layers[n]["stride"]) for n in RECEPTIVE_FIELDS} == RECEPTIVE_FIELDS
    assert layers["conv_pw_13_relu"]["output_shape"] == [7, 7, 1024]
    assert (layers["global_pool"]["receptive_field"], layers["head"]["stride"]) == (None, None)


@pytest.mark.sample(1)
@pytest.mark.parametrize("until", ["none", "conv_pw_10"])
def test_trainable_and_frozen_are_those_of_training(capsys: pytest.CaptureFixture[str], until: str) -> None:
    from cnn_jax.config import ModelConfig
    from cnn_jax.models.building import build

    summary = _json(capsys, "--exp=mobilenet_ft", f"--train.freeze_until={until}", "--classes=3")
    model = build(ModelConfig(), 3)
    params = model.shapes["params"]
    trainable, frozen = map(count, Freezing.until(model, until).split(params))
    assert (summary["trainable"], summary["frozen"]) == (trainable, frozen)
    assert summary["parameters"] == trainable + frozen + summary["batch_statistics"]
    assert summary["first_trainable"] == {"none": "conv1"}.get(until, until)
    assert sum(layer["parameters"] for layer in summary["layers"]) == summary["parameters"]


def test_activation_memory_counts_every_output_and_shrinks_with_the_freeze_point(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ("--exp=simple_cnn_digits", "--data.batch_size=3", "--model.image_size=8", "--model.filters", "4")
    outputs = [8 * 8 * 4, 8 * 8 * 4, 4 * 4 * 4, 64, 64, 10]  # conv, relu, pool, flatten, dropout, head
    summary = _json(capsys, *flags)
    assert summary["activation_bytes"] == summary["kept_activation_bytes"] == 3 * 4 * sum(outputs)
    assert _json(capsys, *flags, "--train.freeze_until=head")["kept_activation_bytes"] == 3 * 4 * sum(outputs[-2:])


def test_the_course_network_has_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--exp=simple_cnn_cats_dogs", "--model.image_size=224", "--classes=2")
    summary = _json(capsys, *flags)
    assert summary["parameters"] == 420_802
    layers = {layer["name"]: layer for layer in summary["layers"]}
    assert [layers[name]["parameters"] for name in ("conv1", "conv2", "head")] == [896, 18_496, 401_410]
    assert [layers[name]["macs"] for name in ("conv1", "conv2", "head")] == [
        224 * 224 * 27 * 32,
        112 * 112 * 288 * 64,
        401_408,
    ]


def test_the_table_has_a_row_a_layer_and_a_line_at_the_freeze_point(capsys: pytest.CaptureFixture[str]) -> None:
    assert summarize.main(["--exp=mobilenet_ft", "--classes=1000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    position = next(i for i, line in enumerate(lines) if line.startswith("-- frozen above"))
    assert lines[position - 1].split()[0] == "conv_dw_10_relu"
    assert lines[position + 1].split() == ["conv_pw_10", "14x14x512", "262,144", "trainable", "51,380,224", "187", "16"]
    assert lines[1].split() == ["conv1", "112x112x32", "864", "frozen", "10,838,016", "3", "2"]
    assert "parameters                4,253,864" in lines
    assert max(map(len, lines[:90])) <= 80


def test_without_a_freeze_point_there_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert summarize.main(["--exp=simple_cnn_digits"]) == 0
    assert "frozen above" not in capsys.readouterr().out


def _classes(capsys: pytest.CaptureFixture[str], *flags: str) -> int:
    return _json(capsys, *flags)["layers"][-1]["output_shape"][0]


def test_the_number_of_classes_comes_from_the_flag_the_config_or_data_that_is_at_hand(
    capsys: pytest.CaptureFixture[str], image_folder: Path
) -> None:
    for name in ("green", "white"):
        for split in ("train", "validation"):
            (image_folder / split / name).mkdir()
            write_image(image_folder / split / name / "0.png", jax.numpy.zeros((4, 4, 3), "uint8").__array__())
    folder = f"--data.dataset=folder:{image_folder}"
    assert _classes(capsys, "--exp=simple_cnn_digits") == 10
    assert _classes(capsys, "--exp=simple_cnn_digits", folder) == 4
    assert _classes(capsys, "--exp=simple_cnn_digits", folder, "--data.classes", "red", "blue", "white") == 3
    assert _classes(capsys, "--exp=simple_cnn_digits", folder, "--classes=7") == 7


@pytest.mark.parametrize("dataset", ["tfds:cats_vs_dogs", "folder:not/here"])
def test_data_that_is_not_at_hand_is_not_fetched_and_the_assumption_is_said(
    capsys: pytest.CaptureFixture[str], dataset: str
) -> None:
    assert summarize.main(["--exp=simple_cnn_digits", f"--data.dataset={dataset}"]) == 0
    printed = capsys.readouterr().out
    assert f"2 assumed, for {dataset} is not at hand: say --classes=N" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train.freeze_until=conv_pw_99"], r"train\.freeze_until: there is no layer 'conv_pw_99'.*: none, head$"),
        (["--classes=0"], r"--classes=0 is not possible"),
        (["--model.image_size=8"], r"model\.image_size=8 is too small"),
        (["--data.dataset=zip:x"], r"data\.dataset='zip:x' is not possible"),
    ],
)
def test_impossible_settings_are_one_message(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        summarize.main(["--exp=mobilenet_ft", *flags])
