"""The same work here, in Keras on TensorFlow, PyTorch and ONNX Runtime: milliseconds a batch, in turn, and the ratios.

    python benchmarks/peers/compare.py                              (needs PyTorch: pip install 'cnn_jax[bench]')
    python benchmarks/peers/compare.py --tasks mobilenet-inference --rounds=5 --sides cnn_jax keras
    python benchmarks/peers/compare.py --memory                     (peak memory of a process for each task instead)
    python benchmarks/peers/compare.py --tasks mobilenet-inference vgg16-inference --batch=1     (one photograph's wait)
    python benchmarks/peers/compare.py --sides cnn_jax pytorch-compiled --precision=bfloat16 --batch=256 --in-flight=20

ONNX Runtime only predicts; it needs pip install 'cnn_jax[onnx]'. The last line is for a GPU, where the host starts
steps before the ones before have ended. Each side is a process of its own that lives through the whole comparison and
works only when it is its turn. The last column is the median of the rounds' ratios, the fastest peer's time over
cnn_jax's: above 1, cnn_jax is ahead.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SIDES = {
    "cnn_jax": "here",
    "keras": "keras_side",
    "pytorch": "torch_side",
    "onnxruntime": "onnx_side",
    "pytorch-compiled": "torch_side",
}
DEFAULT_SIDES = tuple(name for name in SIDES if name != "pytorch-compiled")
PREDICTIONS = ("inference", "prefix")
"""The kinds of tasks that ONNX Runtime has; it does not train."""
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet-inference": ("inference", {"name": "mobilenet"}),
    "mobilenet-from-conv_pw_10": ("training", {"name": "mobilenet", "freeze_until": "conv_pw_10"}),
    "mobilenet-training": ("training", {"name": "mobilenet", "freeze_until": "none"}),
    "mobilenet-from-head": ("training", {"name": "mobilenet", "freeze_until": "head"}),
    "mobilenet-prefix-conv_pw_10": ("prefix", {"name": "mobilenet", "freeze_until": "conv_pw_10"}),
    "simple_cnn-training": ("training", {"name": "simple_cnn", "freeze_until": "none"}),
    "vgg16-prefix": ("prefix", {"name": "vgg16", "freeze_until": "head"}),
    "vgg16-head": ("head", {"name": "vgg16"}),
    "vgg16-inference": ("inference", {"name": "vgg16"}),
    "vgg16-from-block5_conv1": ("training", {"name": "vgg16", "freeze_until": "block5_conv1"}),
    "vgg16-training": ("training", {"name": "vgg16", "freeze_until": "none"}),
}
DEFAULT_TASKS = tuple(name for name in TASKS if name not in ("vgg16-training", "mobilenet-from-head"))
"""Those whose step is not too long for a CPU, nor nearly another's."""
APPLICATION = "application:"
"""Before the file of a network of Keras Applications; inference of it is a task, too (`benchmarks/applications.py`)."""
VGG16_FEATURES = 512
SECONDS = 3.0
"""How long a side works in its turn, at least, and at least three batches."""


def kind_of(task: str) -> tuple[str, dict[str, Any]]:
    """The function of a side that makes the task, and its settings."""
    if task.startswith(APPLICATION):
        return "application", {"path": task.removeprefix(APPLICATION)}
    return TASKS[task]


def can(side: str, task: str) -> bool:
    """Whether the side has the task."""
    return side != "onnxruntime" or kind_of(task)[0] in PREDICTIONS


def make_task(side: str, name: str, batch: int, size: int) -> Any:
    """A function that does the task so many times and waits for the end of the last."""
    import numpy as np

    kind, settings = kind_of(name)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, batch).astype(np.int32)
    if kind == "head":
        inputs = {"features": rng.random((batch, VGG16_FEATURES), np.float32), "labels": labels, "image_size": size}
    else:
        inputs = {"batch": rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)}
        if kind == "training":
            inputs["labels"] = labels
    return getattr(importlib.import_module(SIDES[side]), kind)(**settings, **inputs)


def work(side: str, in_flight: int) -> None:
    """The process of a side: reads the names of tasks, answers with the median milliseconds of a batch."""
    tasks: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = json.dumps(request)
        if key not in tasks:
            tasks.clear()  # one at a time: their memory would add up
            tasks[key] = make_task(side, request["task"], request["batch"], request["size"])
            tasks[key](2)
        times, begun = [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begun < SECONDS:
            started = time.perf_counter()
            tasks[key](in_flight)
            times.append(1e3 * (time.perf_counter() - started) / in_flight)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"milliseconds": statistics.median(times), "megabytes": peak}), flush=True)


class Side:
    """A process that works on demand."""

    def __init__(self, name: str, precision: str, in_flight: int) -> None:
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment["PEERS_TORCH_COMPILE"] = str(int(name == "pytorch-compiled"))
        environment["PEERS_PRECISION"] = precision
        if name == "cnn_jax":
            from cnn_jax.runtime.tuning import MALLOC_TUNABLES

            environment.setdefault("GLIBC_TUNABLES", MALLOC_TUNABLES)  # as the commands start themselves
        command = [sys.executable, __file__, "--work", name, f"--in-flight={in_flight}"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)

    def measure(self, task: str, batch: int, size: int) -> dict[str, float]:
        """Milliseconds of a batch, and megabytes of the process at its largest so far."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps({"task": task, "batch": batch, "size": size}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def take_turns(sides: dict[str, Side], task: str, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of the sides that have the task, in each round; `arguments` are rounds, batch and size."""
    able = {name: side for name, side in sides.items() if can(name, task)}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(arguments.rounds):
        for name, side in able.items():
            times[name].append(side.measure(task, arguments.batch, arguments.size)["milliseconds"])
    return times


def columns(sides: Iterable[str], times: dict[str, list[float]]) -> str:
    """The medians of the sides and of the ratios, and the lowest and highest ratio, for a row of a table."""
    peers = [min(of_round) for of_round in zip(*(v for k, v in times.items() if k != "cnn_jax"), strict=True)]
    ratios = [peer / ours for peer, ours in zip(peers, times.get("cnn_jax", peers), strict=True)]
    cells = [f"{statistics.median(times[name]):.1f}" if name in times else "-" for name in sides]
    return " | ".join([*cells, f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"])


def compare_speed(arguments: argparse.Namespace) -> None:
    """Print a row of milliseconds and ratios for each task."""
    sides = {name: Side(name, arguments.precision, arguments.in_flight) for name in arguments.sides}
    print(f"| task | {' | '.join(sides)} | fastest peer / cnn_jax | lowest to highest |")
    print("|" + "---|" * (len(sides) + 3))
    for task in arguments.tasks:
        print(f"| {task} | {columns(sides, take_turns(sides, task, arguments))} |", flush=True)
    for side in sides.values():
        side.close()


def compare_memory(arguments: argparse.Namespace) -> None:
    """Print a row of peak megabytes for each task; every figure is of a process of its own."""
    print(f"| task | {' | '.join(f'{name} MB' for name in arguments.sides)} |")
    print("|" + "---|" * (len(arguments.sides) + 1))
    for task in arguments.tasks:
        cells = []
        for name in arguments.sides:
            if not can(name, task):
                cells.append("-")
                continue
            side = Side(name, arguments.precision, arguments.in_flight)
            cells.append(f"{side.measure(task, arguments.batch, arguments.size)['megabytes']:.0f}")
            side.close()
        print(f"| {task} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=list(DEFAULT_TASKS))
    parser.add_argument("--sides", nargs="+", choices=tuple(SIDES), default=list(DEFAULT_SIDES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--precision", choices=("float32", "tensorfloat32", "bfloat16"), default="float32")
    parser.add_argument("--in-flight", type=int, default=1, metavar="N", help="batches that are started before a wait")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--work", choices=tuple(SIDES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.in_flight)
        return
    print(f"batch {arguments.batch}, {arguments.size} pixels, {arguments.precision}")
    if arguments.memory:
        compare_memory(arguments)
    else:
        print(f"milliseconds a batch, median of {arguments.rounds} rounds")
        compare_speed(arguments)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
