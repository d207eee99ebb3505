"""What a list of examples as long as ImageNet's costs: time to the first batch, and memory.

    python benchmarks/imagenet_scale.py cats_and_dogs/train --examples=1281167

The list is made up: as many paths as ImageNet has, as long as ImageNet's, which all lead to a few real files (there
are links to them in a temporary folder). Prints what each part of a start takes, the speed of the stream, and the
process' peak memory beyond that of the imports.
"""

import argparse
import contextlib
import itertools
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cnn_jax.config import DataConfig
from cnn_jax.data import splits
from cnn_jax.data.preprocess import Resize
from cnn_jax.data.sources import UNSPLIT, Dataset, FileImages, Names, Split, open_dataset
from cnn_jax.data.stream import TrainStream, evaluation_batches
from cnn_jax.io.tensorflow import tf

CLASSES = 1000
BATCH = 256


def peak_megabytes() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def made_up(folder: Path, files: list[Path], examples: int) -> Dataset:
    """`n00000012/03.JPEG` and so on: each class is a link to the one folder, which has links to real files."""
    for number, file in enumerate(files):
        (folder / f"{number:02d}.JPEG").symlink_to(file.resolve())
    classes = tuple(f"n{label:08d}" for label in range(CLASSES))
    for class_name in classes:
        (folder / class_name).symlink_to(".")
    labels = (np.arange(examples) * CLASSES // examples).astype(np.int32)
    dots = "./" * 9  # as long as ImageNet's n01440764/n01440764_10026.JPEG
    ids = Names.of(f"{classes[label]}/{dots}{i % len(files):02d}.JPEG" for i, label in enumerate(labels))
    return Dataset("synthetic", classes, {UNSPLIT: Split(ids, labels, FileImages(ids, str(folder), "white"))})


def main() -> None:
    """Build the list, take batches, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="has a folder for each class; sixteen of its files are read")
    parser.add_argument("--examples", type=int, default=1_281_167)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()

    real = open_dataset(DataConfig(dataset=f"folder:{arguments.directory}")).splits[UNSPLIT]
    files = [arguments.directory / id_ for id_ in itertools.islice(real.ids, 16)]
    tf()
    with tempfile.TemporaryDirectory() as temporary:
        base, clock = peak_megabytes(), time.perf_counter()

        def report(what: str) -> None:
            nonlocal clock
            now = time.perf_counter()
            print(f"| {what} | {now - clock:.2f} | {peak_megabytes() - base:.0f} |", flush=True)
            clock = now

        print("| part | seconds | peak MB so far, without imports |\n|---|---|---|")
        dataset = splits.partition(made_up(Path(temporary), files, arguments.examples), (0.96, 0.04, 0.0), 0)
        report(f"list of {arguments.examples:,} examples, divided")
        stream = TrainStream(dataset.splits["train"], Resize(224), BATCH, 0)
        with contextlib.closing(stream.batches()) as batches:
            next(batches)
            report(f"first batch of {BATCH}")
            for _ in range(arguments.steps):
                next(batches)
            report(f"{arguments.steps} more batches")
        with contextlib.closing(stream.batches(first_step=3 * arguments.examples // BATCH)) as batches:
            next(batches)
            report("first batch of a run that goes on after three epochs")
        with contextlib.closing(evaluation_batches(dataset.splits["validation"], Resize(224), BATCH)) as batches:
            next(batches)
            report("first batch of the validation")
        splits.write(dataset, Path(temporary, "split.json"))
        report("split.json written")


if __name__ == "__main__":
    main()
