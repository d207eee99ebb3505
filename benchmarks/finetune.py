"""Whole jobs side by side: fine-tune MobileNet here and in Keras on TensorFlow, in turn, on the same folders.

    python benchmarks/finetune.py DIR WEIGHTS.h5 --alpha=0.75 --jobs 5:conv_pw_10 10:conv_pw_12 30:head --rounds=2

A job is a number of epochs and the freeze point. Prints a row for each job and round (wall seconds of the whole
processes, from start to end, and best validation accuracies) and the medians of the ratios. Keras runs with
TensorFlow's defaults (oneDNN on).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KERAS_SCRIPT = Path(__file__).with_name("keras_finetune.py")


def run_here(directory: Path, weights: Path, alpha: float, epochs: int, freeze_until: str) -> tuple[float, float]:
    """Wall seconds and best validation accuracy of `cnn_jax.train`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cnn_jax.train", "--exp=mobilenet_ft", f"--workdir={folder}/run"]
        command += [f"--data.dataset=folder:{directory}", f"--model.alpha={alpha}", f"--model.weights={weights}"]
        command += [f"--train.epochs={epochs}", f"--train.freeze_until={freeze_until}"]
        command += ["--report=False"]  # Keras' script writes none
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        return seconds, json.loads(Path(folder, "run", "result.json").read_text())["best"]["accuracy"]


def run_keras(directory: Path, weights: Path, alpha: float, epochs: int, freeze_until: str) -> tuple[float, float]:
    """The same of Keras."""
    command = [sys.executable, str(KERAS_SCRIPT), str(directory), str(weights), f"--alpha={alpha}"]
    command += [f"--epochs={epochs}", f"--freeze-until={freeze_until}"]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    return seconds, max(json.loads(done.stdout.splitlines()[-1])["validation_accuracy"])


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="has train and validation")
    parser.add_argument("weights", type=Path, help="Keras' .h5 file for this alpha")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--jobs", nargs="+", default=["5:conv_pw_10"], help="EPOCHS:FREEZE_UNTIL")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    print("| job | round | cnn_jax s | accuracy | Keras s | accuracy | Keras / cnn_jax |")
    print("|---|---|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {}
    for number in range(1, arguments.rounds + 1):
        for job in arguments.jobs:
            epochs, _, freeze_until = job.partition(":")
            settings = (arguments.directory, arguments.weights, arguments.alpha, int(epochs), freeze_until)
            (here, accuracy), (keras, keras_accuracy) = run_here(*settings), run_keras(*settings)
            ratios.setdefault(job, []).append(keras / here)
            cells = (job, number, f"{here:.1f}", f"{accuracy:.4f}", f"{keras:.1f}", f"{keras_accuracy:.4f}")
            print(f"| {' | '.join(map(str, cells))} | {keras / here:.2f} |", flush=True)
    for job, values in ratios.items():
        print(f"{job}: median ratio {statistics.median(values):.2f}")


if __name__ == "__main__":
    main()
