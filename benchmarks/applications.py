"""Inference of the networks of Keras Applications, here and in Keras on TensorFlow: a row of a Markdown table for each.

    python benchmarks/applications.py                                      (the smallest of each family)
    python benchmarks/applications.py --all --rounds=5
    python benchmarks/applications.py --networks VGG16 ResNet50 --batch=16

Each network has random weights and is read from its file by both sides. They are measured in turn, as by
`benchmarks/peers/compare.py`: the ratio is the median of the rounds', Keras' time over this package's, so above 1 this
package is ahead. Parity is the largest difference of any layer's output from Keras', relative to the largest value of
the layer (`python -m cnn_jax.verify_weights`).
"""

import argparse
import inspect
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
from peers.compare import APPLICATION, Side, columns, take_turns

SMALLEST = (
    *("VGG16", "ResNet50", "ResNet50V2", "InceptionV3", "InceptionResNetV2", "Xception", "DenseNet121", "MobileNet"),
    *("MobileNetV2", "MobileNetV3Small", "NASNetMobile", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny"),
)
"""Of each family."""
EVERY = tuple(name for name, value in vars(keras.applications).items() if inspect.isroutine(value))


def write(name: str, size: int, path: Path) -> bool:
    """Write a network as a file; whether it scales its images itself."""
    keras.utils.clear_session()
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    model.save(path)
    return any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers)


def parity(path: Path, scales: bool) -> str:
    """As `verify_weights` finds it, or its last line where it finds a difference."""
    command = [sys.executable, "-m", "cnn_jax.verify_weights", "--model.name=keras", f"--model.weights={path}"]
    command += ["--count=2"] if scales else ["--count=2", "--model.normalisation=tf"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found = re.search(r"every difference is at most (\S+)", done.stdout)
    return found[1] if found else (done.stdout + done.stderr).strip().splitlines()[-1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=EVERY, default=list(SMALLEST))
    parser.add_argument("--all", action="store_true", help="every network of the package")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="pixels")
    arguments = parser.parse_args()
    sides = {name: Side(name, "float32", 1) for name in ("cnn_jax", "keras")}
    print(f"batch {arguments.batch}, {arguments.size} pixels, float32; median of {arguments.rounds} rounds, ms a batch")
    print("| network | cnn_jax | Keras | Keras / cnn_jax | lowest to highest | parity |")
    print("|---|---|---|---|---|---|")
    for name in EVERY if arguments.all else arguments.networks:
        with tempfile.TemporaryDirectory(prefix="cnn_jax-") as folder:
            path = Path(folder) / f"{name}.keras"
            scales = write(name, arguments.size, path)
            times = take_turns(sides, f"{APPLICATION}{path}", arguments)
            print(f"| {name} | {columns(sides, times)} | {parity(path, scales)} |", flush=True)
    for side in sides.values():
        side.close()


if __name__ == "__main__":
    main()
