"""Augmentation on the host beside augmentation on the device: images a second of each set of changes, in one run.

    python benchmarks/augmentation.py --size=224 --batch=32

The images are in memory and of the network's size, so nothing else is measured: on the host the training stream with
its threads, on the device the compiled program, whose time includes bringing the batch there. Both take turns, as often
as --rounds says, and medians are printed. The device is JAX' default one: a GPU where there is one.
"""

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnn_jax.cli import command_line

IMAGES = 64
"""Different images; every visit changes them in another way."""


def configurations() -> dict[str, Any]:
    """The sets of changes, by what they are called in the table."""
    from cnn_jax.config import AugmentConfig, ColourJitterConfig, ErasingConfig, RandAugmentConfig
    from cnn_jax.config.augment import USUAL

    return {
        "flip": AugmentConfig(horizontal_flip=True),
        "usual (--augment)": USUAL,
        "usual, fill_mode=reflect": replace(USUAL, fill_mode="reflect"),
        "colour jitter": AugmentConfig(jitter=ColourJitterConfig(0.4, 0.4, 0.4, 0.1)),
        "random erasing": AugmentConfig(erasing=ErasingConfig(0.25)),
        "RandAugment, 2 operations": AugmentConfig(rand_augment=RandAugmentConfig(2)),
    }


def speed(step: Callable[[], Any], steps: int, batch: int) -> float:
    """Images a second, after one step that waits for what is built once."""
    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * batch / (time.perf_counter() - started)


def on_host(pixels: np.ndarray, config: Any, batch: int, steps: int) -> float:
    """The training stream."""
    from cnn_jax.data.preprocess import Resize
    from cnn_jax.data.sources import ArrayImages, Split
    from cnn_jax.data.stream import TrainStream

    labels = np.zeros(len(pixels), np.int32)
    split = Split(tuple(map(str, range(len(pixels)))), labels, ArrayImages(pixels))
    stream = TrainStream(split, Resize(pixels.shape[1]), batch, 0, config)
    with contextlib.closing(stream.batches()) as batches:
        return speed(lambda: next(batches), steps, batch)


def on_device(pixels: np.ndarray, config: Any, batch: int) -> Callable[[int], float]:
    """The compiled program: from a number of steps to images a second."""
    import jax
    import jax.numpy as jnp

    from cnn_jax.data.augment.device import augment_batch
    from cnn_jax.data.augment.device.chance import example_keys
    from cnn_jax.runtime.compiling import jit

    def augmented(images: jax.Array, number: jax.Array) -> jax.Array:
        return augment_batch(images, example_keys(jax.random.key(0), number, jnp.arange(batch)), config)

    compiled, numbers, images = jit(augmented), itertools.count(), pixels[np.arange(batch) % len(pixels)]
    return lambda steps: speed(lambda: compiled(images, next(numbers)).block_until_ready(), steps, batch)


def main(argv: Sequence[str]) -> int:
    """Measure all in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10, help="in each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    import jax

    size, batch, steps = arguments.size, arguments.batch, arguments.steps
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), dtype=np.uint8)
    kind = jax.devices()[0].device_kind
    print(f"| {size} x {size}, batches of {batch} | host, images/s | {kind}, images/s | ratio |")
    print("|---|---|---|---|")
    for name, config in configurations().items():
        measure = on_device(pixels, config, batch)
        pairs = [(on_host(pixels, config, batch, steps), measure(steps)) for _ in range(arguments.rounds)]
        host, device = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for other, one in pairs)
        print(f"| {name} | {host:,.0f} | {device:,.0f} | {ratio:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    command_line.run(main)
