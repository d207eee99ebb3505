"""The input pipeline beside Keras': images a second on a folder of photographs, and the ratios, in one run.

    python benchmarks/input_pipeline.py cats_and_dogs/train --size=224 --images=1000 --rounds=3

Measured in turn, as often as --rounds says: decoding alone, with the pixels dropped, and with as many of them handed
over in batches as resized images have; decoding and resizing; the whole of Keras' geometric augmentation (rotation,
shifts, shear, zoom, flip); Keras' ImageDataGenerator with the same transforms, and its `image_dataset_from_directory`
with preprocessing layers. Prints the medians. A pass over the images comes first, so that files are in the page cache.
Memory is allocated as in the commands (huge pages), for all of them.
"""

import argparse
import contextlib
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cnn_jax.cli import command_line

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCH = 32
ROTATION, SHIFT, SHEAR, ZOOM = 20.0, 0.1, 10.0, 0.1


def images_per_second(batches: Iterator[Any], images: int) -> float:
    """Speed after the first batch, which waits for what is built once."""
    next(batches)
    steps = images // BATCH
    started = time.perf_counter()
    for _ in itertools.islice(batches, steps):
        pass
    return steps * BATCH / (time.perf_counter() - started)


def decode_only(folder: Path, images: int, size: int = 0) -> float:
    """The decoder of cnn_jax alone: each image reduced to its shape, or to its first `size` x `size` pixels."""
    from cnn_jax.config import DataConfig
    from cnn_jax.data.sources import UNSPLIT, open_dataset
    from cnn_jax.data.stream import PARALLEL_CALLS
    from cnn_jax.io.tensorflow import tf

    split = open_dataset(DataConfig(dataset=f"folder:{folder}")).splits[UNSPLIT]

    def load(index: Any) -> Any:
        image = split.images.load(index)
        if not size:
            return tf().shape(image)
        first = tf().reshape(image, (-1,))[: 3 * size**2]
        return tf().ensure_shape(tf().pad(first, [[0, 3 * size**2 - tf().size(first)]]), (3 * size**2,))

    decoded = tf().data.Dataset.range(len(split)).repeat().map(load, PARALLEL_CALLS, deterministic=True)
    return images_per_second(decoded.batch(BATCH).prefetch(2).as_numpy_iterator(), images)


def cnn_jax(folder: Path, size: int, images: int, augmented: bool) -> float:
    """The training stream."""
    from cnn_jax.config import AugmentConfig, DataConfig
    from cnn_jax.data.preprocess import Resize
    from cnn_jax.data.sources import UNSPLIT, open_dataset
    from cnn_jax.data.stream import TrainStream

    augment = AugmentConfig(
        horizontal_flip=True, rotation=ROTATION, width_shift=SHIFT, height_shift=SHIFT, shear=SHEAR, zoom=ZOOM
    )
    split = open_dataset(DataConfig(dataset=f"folder:{folder}")).splits[UNSPLIT]
    stream = TrainStream(split, Resize(size), BATCH, 0, augment if augmented else AugmentConfig())
    with contextlib.closing(stream.batches()) as batches:
        return images_per_second(batches, images)


def image_data_generator(folder: Path, size: int, images: int) -> float:
    """Keras' generator with the same transforms, resizing bilinearly too."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        horizontal_flip=True,
        rotation_range=ROTATION,
        width_shift_range=SHIFT,
        height_shift_range=SHIFT,
        shear_range=SHEAR,
        zoom_range=ZOOM,
    )
    batches = generator.flow_from_directory(str(folder), (size, size), batch_size=BATCH, interpolation="bilinear")
    return images_per_second(iter(batches), images)


def keras_dataset(folder: Path, size: int, images: int, augmented: bool) -> float:
    """Keras' data set, and its preprocessing layers: flip, rotation, shift and zoom (there is a layer for shear)."""
    import keras
    import tensorflow as tf

    dataset = keras.utils.image_dataset_from_directory(
        str(folder), image_size=(size, size), batch_size=BATCH, shuffle=True, seed=0, verbose=False
    ).repeat()
    if augmented:
        layers = [
            keras.layers.RandomFlip("horizontal", seed=0),
            keras.layers.RandomRotation(ROTATION / 360, fill_mode="nearest", seed=0),
            keras.layers.RandomTranslation(SHIFT, SHIFT, fill_mode="nearest", seed=0),
            keras.layers.RandomShear(SHEAR / 57.3, 0.0, fill_mode="nearest", seed=0),
            keras.layers.RandomZoom(ZOOM, ZOOM, fill_mode="nearest", seed=0),
        ]
        augment = keras.Sequential(layers)
        dataset = dataset.map(lambda x, y: (augment(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    return images_per_second(dataset.prefetch(2).as_numpy_iterator(), images)


def main(argv: Sequence[str]) -> int:
    """Measure all in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="has a folder for each class")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=1000, help="in each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)
    folder, size, images = arguments.directory, arguments.size, arguments.images

    contestants: dict[str, Callable[[], float]] = {
        "decode": lambda: decode_only(folder, images),
        "decode, batches of pixels": lambda: decode_only(folder, images, size),
        "decode, resize": lambda: cnn_jax(folder, size, images, False),
        "decode, resize, augment": lambda: cnn_jax(folder, size, images, True),
        "Keras image_dataset_from_directory": lambda: keras_dataset(folder, size, images, False),
        "Keras image_dataset_from_directory, layers": lambda: keras_dataset(folder, size, images, True),
        "Keras ImageDataGenerator": lambda: image_data_generator(folder, size, images),
    }
    decode_only(folder, images)
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, measure in contestants.items():
            speeds[name].append(measure())
    median = {name: statistics.median(values) for name, values in speeds.items()}
    print("| pipeline | images/s | lowest to highest |\n|---|---|---|")
    for name, values in speeds.items():
        print(f"| {name} | {median[name]:.0f} | {min(values):.0f} to {max(values):.0f} |")
    pairs = [
        ("decode, resize", "decode"),
        ("decode, resize", "decode, batches of pixels"),
        ("decode, resize, augment", "Keras ImageDataGenerator"),
        ("decode, resize, augment", "Keras image_dataset_from_directory, layers"),
        ("decode, resize", "Keras image_dataset_from_directory"),
    ]
    for one, other in pairs:
        ratios = [a / b for a, b in zip(speeds[one], speeds[other], strict=True)]
        print(f"{one} / {other}: {statistics.median(ratios):.2f}")
    return 0


if __name__ == "__main__":
    command_line.run(main)
