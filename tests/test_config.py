"""The configuration: what it refuses, how two of them differ, and the way to JSON and back."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax.api.paths import resolve_paths
from cnn_jax.config import (
    AugmentConfig,
    ColourJitterConfig,
    Config,
    DataConfig,
    ErasingConfig,
    ModelConfig,
    OptimizerConfig,
    RandAugmentConfig,
    TrainConfig,
    differences,
)
from cnn_jax.config.experiments import list_experiments, load_experiment
from cnn_jax.config.serialization import from_json, to_json
from cnn_jax.errors import ConfigError

NAN, INFINITY = math.nan, math.inf

IMPOSSIBLE: dict[str, list[Any]] = {
    "name": ["", ".", "..", "a/b", "a\\b", "a\nb", "a\0b"],
    "seed": [-1, 2**31],
    "model.name": ["resnet"],
    "model.alpha": [0.0, -1.0, 0.03, NAN, INFINITY],
    "model.image_size": [0, -224, (0, 96), (96, -1), (96,), (96, 96, 3)],
    "model.channels": [0, 2, 4],
    "model.weights": [""],
    "model.normalisation": ["bgr", "tf"],
    "model.dropout": [-0.1, 1.0, 1.5, NAN],
    "model.filters": [(), (0,), (32, -1)],
    "model.kernel_size": [0, -1],
    "model.strides": [0, -1],
    "model.padding": ["full"],
    "model.top": ["max", "fc"],
    "model.dense": [(0,), (32, -1)],
    "model.head_batch_norm": [True, "yes"],
    "model.pool_size": [0, -1],
    "model.pool_strides": [0, -1],
    "data.dataset": [""],
    "data.batch_size": [0, -1],
    "data.eval_batch_size": [0, -1],
    "data.device_memory_share": [-0.1, 1.1, "half"],
    "data.memory_megabytes": [-1, 1.5],
    "data.disk_megabytes": [-1, 1.5],
    "data.steps_per_epoch": [0, -1],
    "data.split": [(0.8, 0.2), (0.5, 0.2, 0.2), (0.0, 1.0, 0.0), (1.2, -0.2, 0.0), (NAN, 0.5, 0.5), ()],
    "data.classes": [(), ("cat",), ("cat", "dog", "cat")],
    "data.unreadable": ["ignore"],
    "data.background": ["transparent"],
    "data.class_order": ["alphabetical"],
    "data.exclude": [""],
    "data.separator": [""],
    "data.separator_at": ["end"],
    "data.csv.path": [""],
    "data.csv.label": [""],
    "data.csv.split": [""],
    "data.csv.root": [""],
    "data.csv.delimiter": ["", ";;", '"', "\n"],
    "data.shapes_examples": [0, -1],
    "data.shapes_size": [7, 4097],
    "data.shapes_seed": [-1, 2**31],
    "data.resize": ["stretch"],
    "data.interpolation": ["lanczos"],
    "data.augment.rotation": [-1.0, NAN, INFINITY],
    "data.augment.width_shift": [-0.1, NAN, INFINITY, (), (0.1, -0.1), (NAN,)],
    "data.augment.height_shift": [-0.1, NAN, INFINITY, (), (0.1, INFINITY)],
    "data.augment.shear": [-1.0, 90.0, NAN, INFINITY],
    "data.augment.zoom": [
        -0.1,
        1.0,
        NAN,
        INFINITY,
        (),
        (0.9,),
        (0.0, 1.0),
        (1.2, 0.8),
        (0.5, INFINITY),
        (1.0, 1.0, 1.0),
    ],
    "data.augment.fill_mode": ["mirror"],
    "data.augment.fill_value": [-1.0, 256.0, NAN],
    "data.augment.channel_shift": [-1.0, 256.0, NAN],
    "data.augment.brightness": [(), (1.0,), (-0.1, 1.0), (1.2, 0.8), (0.5, INFINITY), (NAN, 1.0)],
    "data.augment.compatibility": ["correct"],
    "data.augment.crop_area": [(), (0.5,), (0.0, 1.0), (0.5, 0.2), (0.5, 1.1), (NAN, 1.0)],
    "data.augment.crop_ratio": [(), (1.0,), (0.0, 1.0), (2.0, 1.0), (1.0, INFINITY)],
    "data.augment.jitter.brightness": [-0.1, NAN, INFINITY],
    "data.augment.jitter.contrast": [-0.1, NAN, INFINITY],
    "data.augment.jitter.saturation": [-0.1, NAN, INFINITY],
    "data.augment.jitter.hue": [-0.1, 0.6, NAN],
    "data.augment.rand_augment.operations": [-1, 1.5],
    "data.augment.rand_augment.magnitude": [-1.0, 10.5, NAN],
    "data.augment.erasing.probability": [-0.1, 1.1, NAN],
    "data.augment.erasing.area": [(), (0.1,), (0.0, 0.5), (0.5, 0.1), (0.5, 1.1), (NAN, 0.5)],
    "data.augment.erasing.ratio": [(), (1.0,), (0.0, 1.0), (2.0, 1.0), (1.0, INFINITY)],
    "data.augment.erasing.fill": ["mean"],
    "data.augment.mixup": [-0.1, NAN, INFINITY],
    "data.augment.on": ["gpu"],
    "data.augment.cutmix": [-0.1, NAN, INFINITY],
    "optimizer.name": ["lion"],
    "optimizer.learning_rate": [0.0, -1e-3, NAN, INFINITY],
    "optimizer.schedule": ["triangle"],
    "optimizer.warmup_epochs": [-1.0, NAN, INFINITY],
    "optimizer.final_fraction": [-0.1, 1.1, NAN],
    "optimizer.decay_factor": [0.0, 1.1, NAN],
    "optimizer.decay_epochs": [0.0, -1.0, NAN, INFINITY],
    "optimizer.momentum": [-0.1, 1.0, NAN],
    "optimizer.beta_1": [-0.1, 1.0, NAN],
    "optimizer.beta_2": [-0.1, 1.0, NAN],
    "optimizer.rho": [-0.1, 1.0, NAN],
    "optimizer.epsilon": [0.0, -1e-7, NAN, INFINITY],
    "optimizer.epsilon_form": ["optax"],
    "optimizer.weight_decay": [-0.1, NAN, INFINITY],
    "optimizer.clip_norm": [0.0, -1.0, NAN, INFINITY],
    "optimizer.head_learning_rate_multiplier": [0.0, -1.0, NAN, INFINITY],
    "optimizer.layer_decay": [-0.1, 1.1, NAN],
    "optimizer.microbatches": [0, -1, 3],
    "optimizer.plateau_epochs": [0, -1],
    "optimizer.head_name": ["adam"],
    "optimizer.l2": [0.0, -1.0, NAN, INFINITY, 0.1],
    "train.epochs": [0, -1],
    "train.head_epochs": [-1, 6],
    "train.freeze_until": [""],
    "train.feature_cache": ["maybe"],
    "train.feature_views": [-1],
    "train.feature_dtype": ["float16"],
    "train.feature_memory_megabytes": [-1],
    "train.feature_disk_megabytes": [-1],
    "train.precision": ["float16"],
    "train.label_smoothing": [-0.1, 1.0, NAN],
    "train.loss": ["hinge"],
    "train.teacher": ["", 3],
    "train.trackers": [("comet",), "mlflow"],
    "train.distillation_temperature": [0.0, -1.0, NAN, INFINITY],
    "train.distillation_weight": [-0.1, 1.1, NAN],
    "train.focal_gamma": [-1.0, NAN, INFINITY],
    "train.class_weights": [(), (0.0, 1.0), (1.0, NAN), "even"],
    "train.ema_decay": [0.0, 1.0, NAN],
    "train.quantize": ["int4"],
    "train.quantize_epochs": [0, -1],
    "train.quantize_learning_rate_multiplier": [0.0, -1.0, NAN, INFINITY],
    "train.early_stopping_epochs": [0, -1],
    "checkpoint.every_epochs": [0, -1],
    "checkpoint.every_steps": [0, -1],
    "checkpoint.every_minutes": [0.0, -1.0, NAN, INFINITY],
    "checkpoint.keep": [0, -1],
}
EVERY_VALUE_IS_POSSIBLE = {
    "model.batch_norm",
    "data.antialias",
    "data.data_dir",
    "data.augment.horizontal_flip",
    "data.augment.vertical_flip",
    "optimizer.nesterov",
    "train.frozen",
    "train.tensorboard",
}
CASES = [pytest.param(name, value, id=f"{name}={value!r}") for name, values in IMPOSSIBLE.items() for value in values]


def field_names(kind: Any = Config, prefix: str = "") -> list[str]:
    names = []
    for item in dataclasses.fields(kind):
        value = getattr(kind(), item.name)
        nested = dataclasses.is_dataclass(value)
        names += field_names(type(value), f"{prefix}{item.name}.") if nested else [prefix + item.name]
    return names


def with_field(config: Any, name: str, value: Any) -> Any:
    head, _, rest = name.partition(".")
    return dataclasses.replace(config, **{head: with_field(getattr(config, head), rest, value) if rest else value})


def json_with_field(name: str, value: Any) -> str:
    for part in reversed(name.split(".")):
        value = {part: value}
    return json.dumps(value)


def shares() -> st.SearchStrategy[tuple[float, float, float]]:
    hundredths = st.tuples(st.integers(1, 100), st.integers(0, 100)).filter(lambda s: sum(s) <= 100)
    return hundredths.map(lambda s: (s[0] / 100, s[1] / 100, (100 - sum(s)) / 100))


NUMBERS = st.integers(1, 10**6)
SHARES_BELOW_ONE = st.floats(0, 1, exclude_max=True)
POSITIVE = st.floats(0, exclude_min=True, allow_infinity=False)
NOT_NEGATIVE = st.floats(0, allow_infinity=False)
RANGES = st.tuples(POSITIVE, POSITIVE).map(sorted).map(tuple)
TEXTS = st.text(min_size=1)

CONFIGS = st.builds(
    Config,
    name=st.text(st.characters(codec="utf-8", exclude_characters="/\\\0\n"), min_size=1).filter(
        lambda name: name not in (".", "..")
    ),
    seed=st.integers(0, 2**31 - 1),
    model=st.builds(
        ModelConfig,
        name=st.sampled_from(["simple_cnn", "mobilenet"]),
        alpha=st.floats(1 / 32, 100),
        image_size=NUMBERS | st.tuples(NUMBERS, NUMBERS),
        weights=TEXTS,
        dropout=SHARES_BELOW_ONE,
        filters=st.lists(NUMBERS, min_size=1, max_size=4).map(tuple),
        kernel_size=NUMBERS,
        strides=NUMBERS,
        padding=st.sampled_from(["same", "valid"]),
        pool_size=NUMBERS,
        pool_strides=NUMBERS,
    ),
    data=st.builds(
        DataConfig,
        dataset=TEXTS,
        batch_size=NUMBERS,
        eval_batch_size=NUMBERS,
        steps_per_epoch=st.none() | NUMBERS,
        split=shares(),
        classes=st.none() | st.lists(st.text(), min_size=2, max_size=4, unique=True).map(tuple),
        unreadable=st.sampled_from(["error", "skip"]),
        exclude=st.none() | TEXTS,
        separator=TEXTS,
        separator_at=st.sampled_from(["first", "last"]),
        shapes_examples=NUMBERS,
        resize=st.sampled_from(["squash", "crop", "pad"]),
        interpolation=st.sampled_from(["bilinear", "nearest", "bicubic"]),
        antialias=st.booleans(),
        data_dir=st.none() | TEXTS,
        augment=st.builds(
            AugmentConfig,
            horizontal_flip=st.booleans(),
            rotation=NOT_NEGATIVE,
            width_shift=NOT_NEGATIVE | st.lists(NOT_NEGATIVE, min_size=1, max_size=3).map(tuple),
            height_shift=NOT_NEGATIVE,
            shear=st.floats(0, 90, exclude_max=True),
            zoom=SHARES_BELOW_ONE | RANGES,
            fill_mode=st.sampled_from(["nearest", "reflect", "constant", "wrap"]),
            brightness=st.none() | RANGES,
            jitter=st.builds(ColourJitterConfig, brightness=NOT_NEGATIVE, hue=st.floats(0, 0.5)),
            rand_augment=st.builds(RandAugmentConfig, operations=st.integers(0, 9), magnitude=st.floats(0, 10)),
            erasing=st.builds(ErasingConfig, probability=st.floats(0, 1), ratio=RANGES),
        ),
    ),
    optimizer=st.builds(
        OptimizerConfig,
        name=st.sampled_from(["adam", "sgd"]),
        learning_rate=POSITIVE,
        momentum=SHARES_BELOW_ONE,
        epsilon=POSITIVE,
        clip_norm=st.none() | POSITIVE,
    ),
    train=st.builds(TrainConfig, epochs=NUMBERS, freeze_until=TEXTS, tensorboard=st.booleans()),
)


def test_every_field_with_impossible_values_is_covered_here() -> None:
    assert set(field_names()) == set(IMPOSSIBLE) | EVERY_VALUE_IS_POSSIBLE


@pytest.mark.parametrize(("name", "value"), CASES)
def test_an_impossible_value_is_an_error_that_names_the_field_and_the_value(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        with_field(Config(), name, value)
    assert str(caught.value).startswith(f"{name}={value!r} is not possible: it must be ")


@pytest.mark.parametrize(("name", "value"), CASES)
def test_an_impossible_value_in_a_file_is_an_error_that_names_the_file_and_the_field(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(json_with_field(name, value), "runs/a/config.json")
    assert str(caught.value).startswith(f"runs/a/config.json: {name}=")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 0),
        ("seed", 2**31 - 1),
        ("name", "été 2 (b).c"),
        ("model.alpha", 1 / 32),
        ("model.alpha", 2.0),
        ("model.image_size", 1),
        ("model.image_size", (96, 128)),
        ("model.dropout", 0.0),
        ("model.filters", (1,)),
        ("data.batch_size", 1),
        ("data.steps_per_epoch", None),
        ("data.steps_per_epoch", 1),
        ("data.split", (1.0, 0.0, 0.0)),
        ("data.split", (0.7, 0.2, 0.1)),
        ("data.classes", ("dog", "cat")),
        ("data.augment.rotation", 360.0),
        ("data.augment.width_shift", 2.0),
        ("data.augment.shear", 89.9),
        ("data.augment.zoom", 0.99),
        ("optimizer.momentum", 0.0),
        ("optimizer.clip_norm", None),
        ("train.epochs", 1),
    ],
)
def test_the_last_possible_values_are_possible(name: str, value: Any) -> None:
    config = with_field(Config(), name, value)
    for part in name.split("."):
        config = getattr(config, part)
    assert config == value


def test_a_batch_of_one_image_has_nothing_to_mix_with() -> None:
    with pytest.raises(ConfigError, match=r"^data\.batch_size=1 .* at least 2 where images are mixed"):
        DataConfig(batch_size=1, augment=AugmentConfig(cutmix=1.0))


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


def test_equal_configurations_have_no_differences() -> None:
    assert differences(Config(), Config()) == []


def test_differences_list_nested_fields_with_both_values() -> None:
    changed = Config(
        seed=7,
        model=ModelConfig(alpha=0.5),
        data=DataConfig(classes=("cat", "dog"), augment=AugmentConfig(zoom=0.1)),
        train=TrainConfig(tensorboard=False),
    )
    assert differences(Config(), changed) == [
        "seed: 0 -> 7",
        "model.alpha: 1.0 -> 0.5",
        "data.classes: None -> ('cat', 'dog')",
        "data.augment.zoom: 0.0 -> 0.1",
        "train.tensorboard: True -> False",
    ]


@settings(max_examples=50, deadline=None)
@given(CONFIGS, CONFIGS)
def test_exactly_the_fields_that_differ_are_listed(old: Config, new: Config) -> None:
    def values(config: Any, prefix: str = "") -> dict[str, Any]:
        found = {}
        for item in dataclasses.fields(config):
            value = getattr(config, item.name)
            nested = dataclasses.is_dataclass(value)
            found |= values(value, f"{prefix}{item.name}.") if nested else {prefix + item.name: value}
        return found

    before, after = values(old), values(new)
    assert differences(old, new) == [f"{n}: {before[n]!r} -> {after[n]!r}" for n in before if before[n] != after[n]]


@settings(max_examples=100, deadline=None)
@given(CONFIGS)
def test_any_configuration_comes_back_from_json(config: Config) -> None:
    back = from_json(to_json(config), "config.json")
    assert back == config
    assert repr(back) == repr(config)  # also of the same types: 1 == 1.0 == True


@pytest.mark.parametrize("experiment", sorted(list_experiments()))
def test_every_shipped_experiment_is_named_like_its_file_and_comes_back_from_json(experiment: str) -> None:
    config = load_experiment(experiment)
    assert config.name == experiment
    assert from_json(to_json(config), "config.json") == config


def test_json_holds_every_field() -> None:
    def names(value: dict[str, Any], prefix: str = "") -> list[str]:
        return [
            name
            for key, item in value.items()
            for name in (names(item, f"{prefix}{key}.") if isinstance(item, dict) else [prefix + key])
        ]

    assert names(json.loads(to_json(Config()))) == field_names()


def test_fields_left_out_of_json_take_their_defaults() -> None:
    assert from_json("{}", "config.json") == Config()
    assert from_json('{"model": {"alpha": 0.5}}', "config.json") == Config(model=ModelConfig(alpha=0.5))


def test_what_was_written_before_there_was_a_background_dropped_transparency() -> None:
    assert Config().data.background == "white"
    assert from_json('{"data": {"batch_size": 8}}', "config.json").data.background == "drop"
    assert from_json(to_json(Config()), "config.json").data.background == "white"


def test_a_whole_number_in_json_is_fine_where_a_float_belongs() -> None:
    alpha = from_json('{"model": {"alpha": 1}}', "config.json").model.alpha
    assert alpha == 1
    assert type(alpha) is float


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"sede": 1}', "sede"),
        ('{"model": {"alhpa": 1.0}}', "model.alhpa"),
        ('{"data": {"augment": {"flip": true}}}', "data.augment.flip"),
    ],
)
def test_an_unknown_field_in_json_is_named_with_the_file_and_the_known_ones(text: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(text, "old/config.json")
    assert f"old/config.json: unknown field {field};" in str(caught.value)
    siblings = [name.removeprefix(field.rpartition(".")[0]).lstrip(".") for name in field_names()]
    assert any(name in str(caught.value) for name in siblings if "." not in name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 3),
        ("name", None),
        ("seed", "0"),
        ("seed", 1.5),
        ("seed", True),
        ("seed", None),
        ("model", []),
        ("model", None),
        ("model.name", 5),
        ("model.name", ["mobilenet"]),
        ("model.alpha", "0.5"),
        ("model.alpha", True),
        ("model.image_size", 224.0),
        ("model.image_size", "96x128"),
        ("model.image_size", [96, 128.0]),
        ("model.filters", 32),
        ("model.filters", ["many"]),
        ("model.filters", [1.5]),
        ("data.split", "0.8"),
        ("data.split", [0.8, "rest", 0.0]),
        ("data.classes", "cat"),
        ("data.classes", [1, 2]),
        ("data.steps_per_epoch", "None"),
        ("data.steps_per_epoch", 1.5),
        ("data.data_dir", 3),
        ("data.augment", None),
        ("data.augment.horizontal_flip", 1),
        ("data.augment.horizontal_flip", "True"),
        ("optimizer.clip_norm", "1.0"),
        ("train.tensorboard", None),
    ],
)
def test_a_wrong_type_in_json_is_an_error_that_names_the_file_and_the_field(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(json_with_field(name, value), "old/config.json")
    message = str(caught.value)
    assert message.startswith(f"old/config.json: {name}")
    assert "must be" in message


def test_a_wrong_choice_in_json_lists_the_choices() -> None:
    with pytest.raises(
        ConfigError, match=r"c\.json: model\.name='resnet' .* one of simple_cnn, vgg16, vgg19, mobilenet"
    ):
        from_json('{"model": {"name": "resnet"}}', "c.json")


@pytest.mark.parametrize("text", ["", "{", "seed = 1", '{"seed": }', "\0"])
def test_a_file_that_is_not_json_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^old/config\.json: "):
        from_json(text, "old/config.json")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"config"'])
def test_json_that_is_no_object_is_an_error_that_names_the_file(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^old/config\.json: the configuration must be an object"):
        from_json(text, "old/config.json")


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(
        model=ModelConfig(weights="weights/mine.h5"),
        data=DataConfig(dataset="folder:photos/../pets", data_dir="prepared", exclude="bad.txt"),
    )
    resolved = resolve_paths(config)
    here = Path.cwd()
    assert resolved.data.dataset == f"folder:{here / 'pets'}"
    assert resolved.data.data_dir == str(here / "prepared")
    assert resolved.data.exclude == str(here / "bad.txt")
    assert resolve_paths(Config(data=DataConfig(dataset="flat:pets"))).data.dataset == f"flat:{here / 'pets'}"
    assert resolved.model.weights == str(here / "weights/mine.h5")
    assert resolve_paths(resolved) == resolved
    monkeypatch.chdir("/")
    assert resolve_paths(resolved) == resolved


def test_the_home_folder_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = Config(model=ModelConfig(weights="~/w.h5"), data=DataConfig(dataset="folder:~/pets", data_dir="~/tfds"))
    resolved = resolve_paths(config)
    assert resolved.data.dataset == f"folder:{tmp_path / 'pets'}"
    assert resolved.data.data_dir == str(tmp_path / "tfds")
    assert resolved.model.weights == str(tmp_path / "w.h5")


@pytest.mark.parametrize("weights", ["imagenet", "none"])
@pytest.mark.parametrize("dataset", ["tfds:cats_vs_dogs", "tfds:a:b", "digits", "shapes", "folder:", "flat:"])
def test_what_is_no_path_stays_as_it_is(dataset: str, weights: str) -> None:
    config = Config(model=ModelConfig(weights=weights), data=DataConfig(dataset=dataset))
    assert resolve_paths(config) == config
