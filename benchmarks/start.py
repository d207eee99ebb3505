"""From the command to the first step: cold and with warm caches, and where the time goes.

    python benchmarks/start.py cats_and_dogs mobilenet_7_5_224_tf.h5 --alpha=0.75 --freeze-until none conv_pw_10 head

First one photograph is named and the validation images evaluated, in turn with `import jax`. Then each freeze point is
started twice in an empty cache folder: the first start compiles everything, the second finds the programs and features
of the first. Prints what the run itself measured, and the wall time of the whole process for an epoch of one step.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def start(arguments: argparse.Namespace, freeze_until: str, cache: str, workdir: str) -> tuple[float, str]:
    """Wall seconds of a run of one step, and what it says of its start."""
    command = [sys.executable, "-m", "cnn_jax.train", "--exp=mobilenet_ft", f"--workdir={workdir}", "--report=False"]
    command += [f"--data.dataset=folder:{arguments.directory}", f"--model.weights={arguments.weights}"]
    command += [f"--model.alpha={arguments.alpha}", f"--train.freeze_until={freeze_until}", "--train.epochs=1"]
    command += ["--data.steps_per_epoch=1", "--train.feature_cache=off", "--data.memory_megabytes=0"]
    started = time.perf_counter()
    environment = {**os.environ, "CNN_JAX_CACHE": cache}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    return seconds, next(line for line in done.stdout.splitlines() if line.startswith("start ")).split(maxsplit=1)[1]


def seconds_of(*command: str, cache: str) -> float:
    """Wall seconds of a Python process."""
    begun = time.perf_counter()
    environment = {**os.environ, "CNN_JAX_CACHE": cache}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    return time.perf_counter() - begun


def after_training(arguments: argparse.Namespace, folder: str) -> None:
    """Print what a run is asked for after training, each in turn with `import jax`: medians, caches warm."""
    run, cache = f"{folder}/named", f"{folder}/named-cache"
    start(arguments, "head", cache, run)
    photograph = str(next(path for path in sorted(arguments.directory.rglob("*")) if path.is_file()))
    evaluate = ("-m", "cnn_jax.evaluate", f"--checkpoint={run}", "--report=False")
    commands = {
        "import jax": ("-c", "import jax"),
        "predict, one photograph": ("-m", "cnn_jax.predict", photograph, f"--checkpoint={run}"),
        "evaluate, known": evaluate,
        "evaluate --recompute": (*evaluate, "--recompute"),
    }
    for command in commands.values():  # compiles, and keeps the predictions
        seconds_of(*command, cache=cache)
    rounds = [[seconds_of(*command, cache=cache) for command in commands.values()] for _ in range(arguments.rounds)]
    print("| command | s | times `import jax` |\n|---|---|---|")
    for name, column in zip(commands, zip(*rounds, strict=True), strict=True):
        ratio = statistics.median(seconds / first for seconds, (first, *_) in zip(column, rounds, strict=True))
        print(f"| {name} | {statistics.median(column):.2f} | {ratio:.1f} |")
    print(flush=True)


def main() -> None:
    """Print the ratio and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="has train and validation")
    parser.add_argument("weights", type=Path, help="Keras' .h5 file for this alpha")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--freeze-until", nargs="+", default=["conv_pw_10"])
    parser.add_argument("--rounds", type=int, default=7, help="of what comes after training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        after_training(arguments, folder)
    print("| freeze_until | caches | whole process s | of it |\n|---|---|---|---|")
    for freeze_until in arguments.freeze_until:
        with tempfile.TemporaryDirectory() as folder:
            for state in ("empty", "warm"):
                seconds, parts = start(arguments, freeze_until, f"{folder}/cache", f"{folder}/{state}")
                print(f"| {freeze_until} | {state} | {seconds:.1f} | {parts} |", flush=True)


if __name__ == "__main__":
    main()
