"""Every augmentation is a function of the image, the seed and the configuration alone.

A generator with a state of its own, TensorFlow's or Python's, is found three ways: by the operations of the graph, by
calls in another order and from several threads, and by resuming.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from cnn_jax.config import AugmentConfig, RandAugmentConfig
from cnn_jax.data.augment import augment
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import ArrayImages, Split
from cnn_jax.data.stream import TrainStream, View, evaluation_batches
from tests.data.augmenting import ALONE, EVERYTHING, photograph

SIZE = 16
CONFIGS = {**ALONE, "everything": EVERYTHING}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> AugmentConfig:
    return CONFIGS[request.param]


@functools.cache
def traced(config: AugmentConfig) -> Any:
    """The augmentation as one graph, of images of any size where it takes such."""
    shape = (None, None, 3) if config.reads_originals else (SIZE, SIZE, 3)
    function = tf.function(lambda image, seed: augment(image, seed, config, (SIZE, SIZE)))
    return function.get_concrete_function(tf.TensorSpec(shape, tf.uint8), tf.TensorSpec((2,), tf.int64))


def nodes(graph: tf.Graph) -> Iterator[Any]:
    """Of a graph and of the branches inside of it."""
    definition = graph.as_graph_def()
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def stateful(graph: tf.Graph) -> set[str]:
    """The kinds of operations that TensorFlow itself knows to depend on more than their inputs."""
    kinds = {node.op: op_def_registry.get(node.op) for node in nodes(graph)}
    return {name for name, kind in kinds.items() if kind is not None and kind.is_stateful}


@pytest.mark.sample(1)
def test_the_graph_has_no_operation_with_a_state(config: AugmentConfig) -> None:
    assert not stateful(traced(config).graph)


@pytest.mark.parametrize(
    "impure",
    [
        lambda image: image + tf.cast(tf.random.uniform(image.shape, maxval=2, dtype=tf.int32), tf.uint8),
        lambda image: tf.cond(tf.random.uniform(()) < 0.5, lambda: image, lambda: 255 - image),
        lambda image: tf.numpy_function(lambda x: x + np.random.default_rng().integers(2), [image], tf.uint8),
    ],
    ids=["random", "random branch", "python"],
)
def test_an_operation_with_a_state_would_be_found(impure: Any) -> None:
    graph = tf.function(impure).get_concrete_function(tf.TensorSpec((2, 2, 3), tf.uint8)).graph
    assert stateful(graph)


@pytest.mark.sample(5)
def test_the_result_depends_on_nothing_else(config: AugmentConfig) -> None:
    """Not on the calls before, the global generators, or whether it runs in a graph."""
    function, image = traced(config), photograph(SIZE)
    seeds = [tf.constant((4, position), tf.int64) for position in range(6)]
    first = [function(tf.constant(image), seed).numpy() for seed in seeds]
    tf.random.set_seed(1)
    for seed, expected in reversed(list(zip(seeds, first, strict=True))):
        np.testing.assert_array_equal(function(tf.constant(image), seed).numpy(), expected)
    eager = augment(tf.constant(image), seeds[0], config, (SIZE, SIZE)).numpy()
    np.testing.assert_array_equal(eager, first[0])
    assert len({result.tobytes() for result in first}) > 1
    assert all(result.dtype == np.uint8 and result.shape == (SIZE, SIZE, 3) for result in first)


def test_the_key_and_the_position_both_choose() -> None:
    function, image = traced(EVERYTHING), tf.constant(photograph(SIZE))
    seeds = [(key, position) for key in (0, 1, 1 << 32, 5 << 32) for position in (0, 1, 2, 10**9)]
    assert len({function(image, tf.constant(seed, tf.int64)).numpy().tobytes() for seed in seeds}) == len(seeds)


def split(count: int = 12) -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 20, 28, 3), dtype=np.uint8)
    return Split(tuple(map(str, range(count))), np.arange(count, dtype=np.int32) % 3, ArrayImages(pixels))


def images(first_step: int, steps: int, parallel_calls: int | None) -> np.ndarray:
    stream = TrainStream(split(), Resize(SIZE), 4, 3, EVERYTHING)
    return np.stack([batch["image"] for batch in islice(stream.batches(first_step, parallel_calls), steps)])


@pytest.mark.long
def test_the_stream_is_the_same_for_one_and_eight_parallel_calls_and_from_any_step_on() -> None:
    one = images(0, 7, 1)
    np.testing.assert_array_equal(images(0, 7, 8), one)
    np.testing.assert_array_equal(images(5, 2, 8), one[5:])
    assert len({image.tobytes() for image in one.reshape(-1, SIZE, SIZE, 3)}) == 28


def test_a_view_is_the_same_at_every_call() -> None:
    light = replace(EVERYTHING, rand_augment=RandAugmentConfig())  # its fourteen branches take long to trace
    first, again, other = (
        next(evaluation_batches(split(), Resize(SIZE), 12, view=View(light, 0, number)))["image"]
        for number in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any((1, 2, 3)).all()


def test_an_operation_draws_the_same_whatever_else_is_on() -> None:
    """The first thing that happens to an image, its geometry, leaves its traces in whatever comes later."""
    seed, image = tf.constant((0, 3), tf.int64), tf.constant(photograph(SIZE))
    alone = augment(image, seed, AugmentConfig(rotation=40, brightness=None)).numpy()
    both = augment(image, seed, AugmentConfig(rotation=40, brightness=(0.5, 0.5), width_shift=0.0)).numpy()
    assert np.abs(both - alone / 2).max() <= 0.5
