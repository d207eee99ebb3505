"""Whole jobs side by side: fine-tune MobileNet here and in Keras on TensorFlow, in turn, on the same folders.

    python benchmarks/finetune.py DIR WEIGHTS.h5 --alpha=0.75 --epochs=5 --rounds=3

Prints a row for each round (wall seconds of the whole processes, from start to end, and best validation accuracies) and
the median of the ratios. Keras runs with TensorFlow's defaults (oneDNN on).
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
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--freeze-until", default="conv_pw_10")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    job = (arguments.directory, arguments.weights, arguments.alpha, arguments.epochs, arguments.freeze_until)

    print("| round | cnn_jax s | accuracy | Keras s | accuracy | Keras / cnn_jax |")
    print("|---|---|---|---|---|---|")
    ratios = []
    for number in range(1, arguments.rounds + 1):
        (here, accuracy), (keras, keras_accuracy) = run_here(*job), run_keras(*job)
        ratios.append(keras / here)
        print(
            f"| {number} | {here:.1f} | {accuracy:.4f} | {keras:.1f} | {keras_accuracy:.4f} | {keras / here:.2f} |",
            flush=True,
        )
    print(f"\nmedian ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
