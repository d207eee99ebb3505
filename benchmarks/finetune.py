"""Whole jobs side by side: fine-tune MobileNet or VGG16 here and in Keras on TensorFlow, in turn, on one data set.

    python benchmarks/finetune.py DIR WEIGHTS.h5 --alpha=0.75 --jobs 5:conv_pw_10 10:conv_pw_12 30:head --rounds=2

    python benchmarks/finetune.py DIR WEIGHTS.h5 --model=vgg16 --jobs 5:head --rounds=1

A job is a number of epochs and the freeze point. Prints a row for each job and round: wall seconds of the whole
processes from start to end, here of a first start, which has an empty cache folder, and of a second one after it, in
another run directory; best validation accuracies; and the seconds from the start of the process until the first start
and Keras have reached `--target`, where they do. Then the medians of the ratios. Without `train` and `validation` in
DIR a fifth of each class, drawn by seed 0, is the validation. Keras runs with TensorFlow's defaults (oneDNN on).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KERAS_SCRIPT = Path(__file__).with_name("keras_finetune.py")


@dataclass(frozen=True)
class Outcome:
    """What a whole process took and reached."""

    seconds: float
    accuracies: Sequence[float]
    """On the validation images, epoch by epoch."""
    ends: Sequence[float]
    """Seconds from the start of the process to the end of each epoch, validation included."""

    def until(self, target: float) -> str:
        """Seconds until an epoch ended with this accuracy."""
        reached = [end for accuracy, end in zip(self.accuracies, self.ends, strict=True) if accuracy >= target]
        return f"{reached[0]:.1f}" if reached else "-"


@dataclass(frozen=True)
class Job:
    """What both sides do."""

    directory: Path
    weights: Path
    model: str
    alpha: float
    epochs: int
    freeze_until: str


def run_here(job: Job, cache: Path) -> Outcome:
    """`cnn_jax.train`, whose metrics are read while they are written."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cnn_jax.train", "--exp=mobilenet_ft", f"--workdir={folder}/run"]
        command += [f"--data.dataset=folder:{job.directory}", f"--model.weights={job.weights}"]
        command += [f"--model.name={job.model}", f"--model.alpha={job.alpha}"]
        command += [f"--train.epochs={job.epochs}", f"--train.freeze_until={job.freeze_until}"]
        command += ["--report=False"]  # Keras' script writes none
        environment = {**os.environ, "CNN_JAX_CACHE": str(cache)}
        started, ends = time.perf_counter(), []
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        running = True
        while running:
            running = process.poll() is None
            metrics = Path(folder, "run", "metrics.jsonl")
            lines = metrics.read_text().splitlines() if metrics.exists() else []
            found = [json.loads(line) for line in lines if line.endswith("}")]
            accuracies = [line["accuracy"] for line in found if line["split"] == "validation"]
            ends += [time.perf_counter() - started] * (len(accuracies) - len(ends))
            time.sleep(0.1 * running)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        return Outcome(time.perf_counter() - started, accuracies, ends)


def run_keras(job: Job) -> Outcome:
    """The same of Keras."""
    command = [sys.executable, str(KERAS_SCRIPT), str(job.directory), str(job.weights), f"--alpha={job.alpha}"]
    command += [f"--model={job.model}", f"--epochs={job.epochs}", f"--freeze-until={job.freeze_until}"]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    told = json.loads(done.stdout.splitlines()[-1])
    before = told["wall_seconds"] - sum(told["epoch_seconds"])
    ends = [before + sum(told["epoch_seconds"][: number + 1]) for number in range(job.epochs)]
    return Outcome(seconds, told["validation_accuracy"], ends)


def divided(directory: Path, folder: Path) -> Path:
    """Links to the images of a folder of classes, a fifth of each class for validation; or the folder as it is."""
    if (directory / "train").is_dir():
        return directory
    for group in sorted(path for path in directory.iterdir() if path.is_dir()):
        images = sorted(group.iterdir())
        for place, image in zip(np.random.default_rng(0).permutation(len(images)), images, strict=True):
            target = folder / ("validation" if place < len(images) // 5 else "train") / group.name
            target.mkdir(parents=True, exist_ok=True)
            (target / image.name).symlink_to(image.resolve())
    return folder


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="has a folder for each class, or train and validation with them")
    parser.add_argument("weights", type=Path, help="Keras' .h5 file for this alpha")
    parser.add_argument("--model", choices=("mobilenet", "vgg16"), default="mobilenet")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--jobs", nargs="+", default=["5:conv_pw_10"], help="EPOCHS:FREEZE_UNTIL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", type=float, default=0.95, help="validation accuracy to wait for")
    arguments = parser.parse_args()

    print(
        "| job | round | first start s | accuracy | second start s | accuracy | Keras s | accuracy "
        f"| Keras / first | Keras / second | {arguments.target} after s |"
    )
    print("|" + "---|" * 11)
    ratios: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        directory = divided(arguments.directory, Path(folder))
        for number in range(1, arguments.rounds + 1):
            for name in arguments.jobs:
                epochs, _, freeze_until = name.partition(":")
                job = Job(directory, arguments.weights, arguments.model, arguments.alpha, int(epochs), freeze_until)
                with tempfile.TemporaryDirectory() as cache:
                    first, second = run_here(job, Path(cache)), run_here(job, Path(cache))
                keras = run_keras(job)
                ratios.setdefault(name, []).append((keras.seconds / first.seconds, keras.seconds / second.seconds))
                cells = [f"{side.seconds:.1f} | {max(side.accuracies):.4f}" for side in (first, second, keras)]
                reached = " and ".join(side.until(arguments.target) for side in (first, keras))
                row = (name, number, *cells, *(f"{ratio:.2f}" for ratio in ratios[name][-1]), reached)
                print(f"| {' | '.join(map(str, row))} |", flush=True)
    for name, values in ratios.items():
        medians = [statistics.median(column) for column in zip(*values, strict=True)]
        print(f"{name}: median ratio {medians[0]:.2f} of first starts, {medians[1]:.2f} of second ones")


if __name__ == "__main__":
    main()
