"""Augmentation on the device: the pixels of the host and of Keras for the same random numbers, and the same numbers
whatever the batch and the devices."""

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from cnn_jax.config import AugmentConfig, ColourJitterConfig, ErasingConfig, FillMode, RandAugmentConfig
from cnn_jax.config.augment import USUAL
from cnn_jax.data.augment import augment
from cnn_jax.data.augment.chance import Stage
from cnn_jax.data.augment.colour import JITTER_DRAWS, KERAS_DRAWS, jitter_parameters
from cnn_jax.data.augment.device import augment_batch, change, obstacle
from cnn_jax.data.augment.device.chance import draw, example_keys
from cnn_jax.data.augment.device.randaugment import NAMES, operate
from cnn_jax.data.augment.geometry import DRAWS, transform_vector
from cnn_jax.data.augment.randaugment import OPERATIONS
from cnn_jax.data.augment.windows import WINDOW_DRAWS, draw_window
from tests.data.augmenting import (
    ALONE,
    EVERYTHING,
    LEVEL,
    MANY,
    SCIPY_NAMESPACE,
    assert_uniform,
    by_keras,
    changed,
    drawn,
    many_drawn,
    photograph,
)

CONSTANT = ErasingConfig(0.7, fill="constant")
WHOLE = replace(EVERYTHING, crop_area=None)
GEOMETRY = ("rotation", "width_shift", "height_shift", "shear", "zoom")
FILL_MODES: tuple[FillMode, ...] = ("nearest", "reflect", "constant", "wrap")
CONFIGS = {
    "usual": USUAL,
    "colours": AugmentConfig(channel_shift=20, brightness=(0.8, 1.2), jitter=ColourJitterConfig(0.2, 0.2, 0.2, 0.05)),
    **{name: config for name, config in ALONE.items() if name not in (*GEOMETRY, "crop", "erasing", "rand_augment")},
    "erasing": AugmentConfig(erasing=CONSTANT, fill_value=200),
    "no window fits": AugmentConfig(erasing=ErasingConfig(1.0, (0.9, 1.0), (3.0, 4.0), "constant")),
    **{name: AugmentConfig(jitter=ColourJitterConfig(**{name: 0.5})) for name in ("contrast", "saturation", "hue")},
    "two shifts": AugmentConfig(width_shift=(0.1, 0.3), vertical_flip=True, compatibility="keras"),
    **{
        f"{name}, {mode}": replace(ALONE[name], fill_mode=mode, fill_value=77)
        for mode in FILL_MODES
        for name in GEOMETRY
    },
}


def host_draws(seed: tuple[int, int], config: AugmentConfig, shape: tuple[int, int]) -> dict[Stage, jax.Array]:
    """The host's random numbers for the stages that are on."""
    wanted = jax.eval_shape(lambda key: draw(key, shape, config), jax.random.key(0))
    assert Stage.NOISE not in wanted
    return {stage: jnp.asarray(drawn(seed, stage, len(like)), jnp.float32) for stage, like in wanted.items()}


@functools.cache
def device(config: AugmentConfig) -> Callable[..., Any]:
    return jax.jit(lambda image, draws: change(image, draws, config))


def batches(config: AugmentConfig) -> Any:
    """Images and the places of a pass that they are at to augmented images, compiled."""
    return jax.jit(
        lambda images, number, places: augment_batch(images, example_keys(jax.random.key(3), number, places), config)
    )


def difference(one: Any, other: Any) -> int:
    return np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max()


def assert_same_pixels(ours: Any, expected: Any, what: Any = "") -> None:
    """Within 1 of 255, and nearly all of them equal."""
    assert difference(ours, expected) <= 1, what
    assert (np.asarray(ours) != expected).mean() < 0.01, what


@pytest.mark.sample(10)
@pytest.mark.parametrize("name", CONFIGS)
def test_the_pixels_are_the_hosts(name: str) -> None:
    config, image = CONFIGS[name], photograph(20, 33)
    host = tf.function(lambda seed: augment(tf.constant(image), seed, config))
    different = 0
    for position in range(12):
        ours = device(config)(image, host_draws((3, position), config, (20, 33)))
        expected = host(tf.constant((3, position), tf.int64)).numpy()
        assert ours.dtype == np.uint8
        assert_same_pixels(ours, expected)
        different += (expected != image).any()
    assert different or name == "no window fits"


@pytest.mark.long
def test_so_are_those_of_all_stages_one_after_the_other() -> None:
    """But for one grey level more where a later stage stretches the contrast."""
    config, image = replace(WHOLE, erasing=CONSTANT), photograph(24)
    for position in range(12):
        ours = device(config)(image, host_draws((3, position), config, (24, 24)))
        assert difference(ours, changed(image, (3, position), config)) <= 3


@pytest.mark.filterwarnings(SCIPY_NAMESPACE)
@pytest.mark.sample(4)
@pytest.mark.parametrize("size", [(21, 21), (8, 30), (1, 7), (1, 1)])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_an_image_moves_as_keras_moves_it(fill_mode: FillMode, size: tuple[int, int]) -> None:
    """Turned all the way round and more than one width away, so that every fill mode repeats."""
    config = AugmentConfig(
        horizontal_flip=True,
        vertical_flip=True,
        rotation=180,
        width_shift=2.5,
        height_shift=0.9,
        shear=30,
        zoom=(0.4, 2.5),
        fill_mode=fill_mode,
        fill_value=77,
    )
    image = photograph(*size)
    for position in range(12):
        draws = drawn((1, position), Stage.GEOMETRY, DRAWS)
        ours = device(config)(image, {Stage.GEOMETRY: jnp.asarray(draws, jnp.float32)})
        assert difference(ours, by_keras(image, draws, config).round()) <= 1


@pytest.mark.parametrize("magnitude", [9.0, pytest.param(0.0, marks=pytest.mark.long)])
@pytest.mark.parametrize("size", [(20, 31), pytest.param((2, 5), marks=pytest.mark.long)])
def test_each_operation_of_rand_augment_is_the_hosts(magnitude: float, size: tuple[int, int]) -> None:
    config = AugmentConfig(rand_augment=RandAugmentConfig(1, magnitude), fill_mode="reflect")
    compiled = jax.jit(lambda image, chosen, direction: operate(image, chosen, direction, config))
    image = photograph(*size) // 2 + 40
    grey = np.full_like(image, 99)
    for chosen, (name, operation) in enumerate(OPERATIONS.items()):
        for direction in (-1.0, 1.0):
            for pixels in (image, grey):
                expected = operation(tf.constant(pixels), tf.constant(direction), config).numpy()
                assert_same_pixels(compiled(pixels, chosen, direction), expected, (name, direction))


@pytest.mark.long
def test_both_sides_draw_from_the_same_distributions() -> None:
    """Of the parameters themselves, each against the host's."""
    keys, config = example_keys(jax.random.key(6), 0, jnp.arange(MANY)), replace(WHOLE, compatibility="none")
    draws = jax.tree.map(np.asarray, jax.jit(jax.vmap(lambda key: draw(key, (4, 4), config)))(keys))

    def transforms(found: Any) -> Any:
        return jax.jit(jax.vmap(lambda one: transform_vector(one, config, 50, 80, jnp)))(found)[:, :6]

    def windows(found: Any) -> Any:
        drawing = jax.jit(jax.vmap(lambda one: draw_window(one[1:], 50.0, 80.0, (0.1, 0.5), (0.5, 2.0), jnp)))
        return np.stack(drawing(found), 1)

    def factors(found: Any) -> Any:
        return np.stack(jitter_parameters(found.T, config.jitter), 1)

    for stage, count, parameters in [
        (Stage.GEOMETRY, DRAWS, transforms),
        (Stage.ERASING, WINDOW_DRAWS + 1, windows),
        (Stage.JITTER, JITTER_DRAWS, factors),
        (Stage.KERAS_COLOUR, KERAS_DRAWS, np.asarray),
        (Stage.RAND_AUGMENT, 2, lambda found: (found * [len(NAMES), 2]).astype(int)),
    ]:
        ours, theirs = np.asarray(parameters(draws[stage])), np.asarray(parameters(many_drawn(stage, count)))
        assert len(np.unique(ours[:, 0])) > 10
        for column in range(ours.shape[1]):
            assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > LEVEL, (stage, column)
        for column in range(count):
            assert_uniform(draws[stage][:, column], 0, 1)
        correlations = np.corrcoef(draws[stage].T)[np.triu_indices(count, 1)]
        assert np.abs(correlations).max() < 4.5 / MANY**0.5
    assert stats.chisquare(np.bincount(draws[Stage.NOISE].ravel(), minlength=256)).pvalue > LEVEL


def test_the_seed_the_pass_and_the_place_all_choose() -> None:
    places = jnp.array([0, 1, 2, 10**9])
    keys = [example_keys(jax.random.key(seed), number, places) for seed in (0, 1) for number in (0, 1, 2**31 - 1)]
    assert len(np.unique(np.concatenate([jax.random.key_data(one) for one in keys]), axis=0)) == 24


@pytest.mark.parametrize("config", [USUAL, pytest.param(WHOLE, marks=pytest.mark.long)], ids=["usual", "everything"])
def test_an_image_is_changed_alike_in_every_batch(config: AugmentConfig) -> None:
    """Bit by bit: in another order, in smaller batches, and at a later call of the same program."""
    images, places, augmented = np.stack([photograph(16, seed=i) for i in range(8)]), jnp.arange(8), batches(config)
    whole, order = np.asarray(augmented(images, 2, places)), np.random.default_rng(0).permutation(8)
    np.testing.assert_array_equal(augmented(images[order], 2, places[order]), whole[order])
    assert (np.asarray(augmented(images, 3, places)) != whole).any((1, 2, 3)).all()
    np.testing.assert_array_equal(augmented(images, 2, places), whole)
    assert augmented._cache_size() == 1
    np.testing.assert_array_equal(augmented(images[1:4], 2, places[1:4]), whole[1:4])


@pytest.mark.long
def test_eight_devices_change_the_images_as_one_does_and_tell_each_other_nothing(tmp_path: Path) -> None:
    """Bit by bit, with every stage on."""
    found = {}
    for devices in (1, 8):
        environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        command = [sys.executable, "-m", "tests.data.augmenting_devices", str(devices)]
        done = subprocess.run(
            command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found[devices] = json.loads(done.stdout.splitlines()[-1])
    assert found[8]["digest"] == found[1]["digest"]
    assert found[8]["collectives"] == []


def test_with_everything_off_the_images_are_the_very_same() -> None:
    images, keys = jnp.asarray(photograph()[None]), example_keys(jax.random.key(0), 0, jnp.arange(1))
    assert augment_batch(images, keys, AugmentConfig()) is images
    odd = AugmentConfig(fill_mode="constant", mixup=0.2, width_shift=(0.0,), zoom=(1.0, 1.0), brightness=(1.0, 1.0))
    assert augment_batch(images, keys, odd) is images


def test_a_stage_draws_numbers_of_its_own_and_the_same_whatever_else_is_on() -> None:
    alone, all_of_them = (
        jax.jit(lambda key, config=config: draw(key, (4, 4), config))(jax.random.key(1))
        for config in (ALONE["jitter"], WHOLE)
    )
    assert set(alone) == {Stage.JITTER}
    np.testing.assert_array_equal(alone[Stage.JITTER], all_of_them[Stage.JITTER])
    assert set(all_of_them) == set(Stage) - {Stage.CROP}
    first = [float(numbers[0]) for stage, numbers in all_of_them.items() if stage != Stage.NOISE]
    assert len(set(first)) == len(first)


def test_what_stays_on_the_host_is_said() -> None:
    crop = ALONE["crop"]
    with pytest.raises(ValueError, match="crop_area cuts out of the photographs as they are on disk"):
        augment_batch(jnp.zeros((1, 4, 4, 3), jnp.uint8), example_keys(jax.random.key(0), 0, jnp.arange(1)), crop)
    assert "crop_area" in str(obstacle(crop, "gpu"))
    for config in (USUAL, ALONE["rand_augment"]):
        assert "TPUs are slow" in str(obstacle(config, "tpu"))
        assert obstacle(config, "gpu") is obstacle(config, "cpu") is None
    assert obstacle(ALONE["horizontal_flip"], "tpu") is obstacle(ALONE["jitter"], "tpu") is None


@pytest.mark.parametrize("platform", ["tpu", pytest.param("cuda", marks=pytest.mark.long)])
def test_the_program_can_be_lowered_for_accelerators_and_has_no_large_arrays_of_indices(platform: str) -> None:
    """None of its arrays is larger than the images in float32, with four numbers for each pixel."""
    images = jax.ShapeDtypeStruct((32, 224, 224, 3), jnp.uint8)
    places, number = jax.ShapeDtypeStruct((32,), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
    lowered = batches(WHOLE).trace(images, number, places).lower(lowering_platforms=(platform,))
    arrays = re.findall(r"tensor<((?:\d+x)+)u?[if](\d+)>", lowered.as_text())
    sizes = [np.prod([int(n) for n in shape.split("x")[:-1]]) * int(bits) // 8 for shape, bits in arrays]
    assert "stablehlo.gather" in lowered.as_text()
    assert max(sizes) <= 32 * 224 * 224 * 4 * 4
