"""How cost grows with the work: a step with batch, image size, width and freeze point; an epoch with the data.

    python benchmarks/growth.py steps                   (MobileNet, around batch 16 of 128 pixels, width 0.5)
    python benchmarks/growth.py epochs --sizes 1000 10000 100000

`epochs` trains the small network on folders of so many small JPEG files, not kept in memory, each in a process of its
own: seconds of the second epoch, and the largest memory of the process. The files are hard links to 1,000 pictures.
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
from typing import Any

from cnn_jax.cli import command_line

CENTRE = {"batch": 16, "size": 128, "alpha": 0.5, "freeze_until": "conv_pw_10"}
AXES: dict[str, tuple[Any, ...]] = {
    "batch": (4, 8, 16, 32, 64),
    "size": (64, 96, 128, 192, 256),
    "alpha": (0.25, 0.5, 0.75, 1.0),
    "freeze_until": ("none", "conv_pw_4", "conv_pw_8", "conv_pw_10", "conv_pw_12", "head"),
}
PICTURES, PIXELS = 1000, 32


def step_milliseconds(batch: int, size: int, alpha: float, freeze_until: str) -> tuple[float, float]:
    """Median time of a training step, and its GFLOP as the compiler counts them."""
    import jax
    import numpy as np
    import optax

    from cnn_jax.config import ModelConfig
    from cnn_jax.models.building import build
    from cnn_jax.training.flops import compiled_step
    from cnn_jax.training.freezing import Freezing
    from cnn_jax.training.run.mesh import Mesh
    from cnn_jax.training.state import Settings, TrainState
    from cnn_jax.training.step import make_train_step

    model, mesh = build(ModelConfig(alpha=alpha, image_size=size, weights="none"), 2), Mesh.create()
    freezing, optimizer = Freezing.until(model, freeze_until), optax.adam(1e-4)
    state = mesh.replicate(TrainState.create(model.init(0), optimizer, freezing, Settings.of(0)))
    images = mesh.put_batch(np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8))
    labels = mesh.put_batch(np.zeros(batch, np.int32))
    step = make_train_step(model, optimizer, freezing, mesh).lower(state, images, labels).compile()
    times = []
    for _ in range(12):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, images, labels))
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[2:]), (compiled_step(model, freezing, state.variables, step, images) or 0) / 1e9


def steps() -> None:
    """Print a row for each point of each axis, the others at the centre."""
    print("| what changes | to | step ms | images/s | GFLOP | GFLOP/s |\n|---|---|---|---|---|---|")
    for axis, values in AXES.items():
        for value in values:
            point = {**CENTRE, axis: value}
            milliseconds, work = step_milliseconds(**point)
            speed, rate = 1e3 * point["batch"] / milliseconds, 1e3 * work / milliseconds
            print(f"| {axis} | {value} | {milliseconds:.1f} | {speed:.0f} | {work:.2f} | {rate:.0f} |", flush=True)


def epochs(sizes: list[int]) -> None:
    """Print a row for each number of images."""
    print("| images | second epoch s | images/s | whole process s | peak MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        pictures = _pictures(Path(folder, "pictures"))
        for size in sizes:
            data = Path(folder, f"of_{size}")
            for number in range(size + 200):
                target = data / ("train" if number < size else "validation") / f"class_{number % 2}"
                target.mkdir(parents=True, exist_ok=True)
                os.link(pictures[number % PICTURES], target / f"{number}.jpg")
            seconds, peak = _train(data, Path(folder, f"run_{size}"))
            lines = [json.loads(line) for line in Path(folder, f"run_{size}", "metrics.jsonl").read_text().splitlines()]
            speed = [line["images_per_second"] for line in lines if line["split"] == "train"][1]
            print(f"| {size:,} | {size / speed:.1f} | {speed:.0f} | {seconds:.1f} | {peak:.0f} |", flush=True)


def _pictures(folder: Path) -> list[Path]:
    import numpy as np
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(PICTURES)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (PIXELS, PIXELS, 3), dtype=np.uint8)).save(path, quality=90)
    return paths


def _train(data: Path, workdir: Path) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a process that trains two epochs."""
    command = [sys.executable, "-m", "cnn_jax.train", "--exp=simple_cnn_digits", "--report=False"]
    command += [f"--model.image_size={PIXELS}"]
    command += ["--data.batch_size=100", "--data.memory_megabytes=0", "--train.epochs=2", f"--workdir={workdir}"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, f"--data.dataset=folder:{data}"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"training ended with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main(argv) -> int:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("steps", "epochs"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    arguments = parser.parse_args(argv)
    steps() if arguments.table == "steps" else epochs(arguments.sizes)
    return 0


if __name__ == "__main__":
    command_line.run(main)
