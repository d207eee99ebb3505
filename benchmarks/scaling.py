"""What several devices cost and give: bytes that a training step reduces over them, its time, and waits for images.

    python benchmarks/scaling.py volume        (exact, from the compiled programs; about a minute for each network)
    python benchmarks/scaling.py steps         (times on 1, 2, 4 and 8 virtual devices of this machine's CPU)
    python benchmarks/scaling.py steps --data=folder:DIR --image-size=224

`volume` compiles the step of each network and freeze point for 8 devices and adds up the results of its all-reduce
operations: the gradients of what trains, the sums of batch normalisation, the loss. Neither values nor the number of
devices change it. `steps` shows what the partition costs: virtual devices share the same cores, so an ideal
partition keeps the images a second as they are.
"""

import argparse
import contextlib
import os
import re
import statistics
import time
from typing import Any

from cnn_jax.cli import command_line

DEVICES = (1, 2, 4, 8)
POINTS = {
    "mobilenet": ("none", "conv_pw_10", "head"),
    "mobilenet_v2": ("none", "block_13_expand", "head"),
    "vgg16": ("none", "block5_conv1", "head"),
    "simple_cnn": ("none", "head"),
}
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}
SHAPE = re.compile(rf"({'|'.join(BYTES)})\[([\d,]*)\]")
REDUCTION = re.compile(r"= (.+?) (all-reduce|reduce-scatter|all-gather|collective-permute|all-to-all)(?:-start)?\(")


def reduced(program: str) -> dict[str, int]:
    """Bytes of the results of each kind of collective operation in a compiled program, given as its text."""
    found: dict[str, int] = {}
    for result, kind in REDUCTION.findall(program):
        for dtype, sizes in SHAPE.findall(result):
            count = 1
            for size in filter(None, sizes.split(",")):
                count *= int(size)
            found[kind] = found.get(kind, 0) + BYTES[dtype] * count
    return found


def abstract_step(config: Any, classes: int, mesh: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    """The freezing of a configuration, its jitted step, and the shapes that the step takes."""
    import jax
    import numpy as np

    from cnn_jax.models.building import build
    from cnn_jax.training.freezing import Freezing
    from cnn_jax.training.optimizer import make_optimizer
    from cnn_jax.training.schedule import make_schedule
    from cnn_jax.training.state import Settings, TrainState
    from cnn_jax.training.step import make_train_step

    model = build(config.model, classes, config.train.precision)
    freezing = Freezing.until(model, config.train.freeze_until)
    optimizer = make_optimizer(config.optimizer, model.parameter_shapes)
    settings = Settings.of(0, make_schedule(config.optimizer, 1, 1))
    step = make_train_step(model, optimizer, freezing, mesh)
    state = jax.eval_shape(lambda: TrainState.create(model.init(0), optimizer, freezing, settings))
    batch, size = config.data.batch_size, config.model.image_size
    shapes = jax.ShapeDtypeStruct((batch, size, size, 3), np.uint8), jax.ShapeDtypeStruct((batch,), np.int32)
    return freezing, step, (state, *shapes)


def volume(arguments: argparse.Namespace) -> None:
    """Print the bytes that a step reduces, by network and freeze point."""
    from cnn_jax.config import Config, DataConfig, ModelConfig, TrainConfig
    from cnn_jax.training.freezing import count
    from cnn_jax.training.run.mesh import Mesh

    mesh = Mesh.create()
    print(f"{mesh.devices} devices, {arguments.classes} classes, {arguments.precision}\n")
    print("| network | freeze_until | trainable MB | all-reduced MB | of it not gradients, bytes | other collectives |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models or POINTS:
        for point in POINTS[name]:
            config = Config(
                model=ModelConfig(name=name, weights="none", image_size=arguments.image_size),
                data=DataConfig(batch_size=mesh.devices),
                train=TrainConfig(freeze_until=point, precision=arguments.precision),
            )
            freezing, step, shapes = abstract_step(config, arguments.classes, mesh)
            found = reduced(step.lower(*shapes).compile().as_text())
            gradients = 4 * count(freezing.split(shapes[0].params)[0])
            reduction = found.pop("all-reduce", 0)
            sizes = (f"{gradients / 1e6:.3f}", f"{reduction / 1e6:.3f}", f"{reduction - gradients:,}")
            others = ", ".join(f"{kind} {size} bytes" for kind, size in found.items()) or "none"
            print(f"| {name} | {point} | {' | '.join(sizes)} | {others} |", flush=True)


def steps(arguments: argparse.Namespace) -> None:
    """Print the time of a step and the share of it that waits for images, by number of devices."""
    import jax

    print("| devices | step ms | images/s | waiting for images, ms a step | share |\n|---|---|---|---|---|")
    for devices in DEVICES:
        waits, times = timed_steps(arguments, devices)
        step, wait = statistics.median(times), statistics.mean(waits)
        speed, share = arguments.batch / step, wait / statistics.mean(times)
        print(f"| {devices} | {1e3 * step:.1f} | {speed:.0f} | {1e3 * wait:.2f} | {share:.1%} |", flush=True)
        jax.clear_caches()


def timed_steps(arguments: argparse.Namespace, devices: int) -> tuple[list[float], list[float]]:
    """Seconds that each step waits for its images, and seconds of each whole step."""
    import jax

    from cnn_jax.config import Config, DataConfig, ModelConfig, TrainConfig
    from cnn_jax.data import splits
    from cnn_jax.data.preprocess import Resize
    from cnn_jax.data.sources import open_dataset
    from cnn_jax.data.stream import TrainStream
    from cnn_jax.models.building import build
    from cnn_jax.training.optimizer import make_optimizer
    from cnn_jax.training.run.mesh import Mesh
    from cnn_jax.training.schedule import make_schedule
    from cnn_jax.training.state import Settings, TrainState

    data = DataConfig(dataset=arguments.data, batch_size=arguments.batch)
    config = Config(
        model=ModelConfig(name=arguments.model, weights="none", image_size=arguments.image_size),
        data=data,
        train=TrainConfig(freeze_until=arguments.freeze_until, precision=arguments.precision),
    )
    mesh, dataset = Mesh.create(devices), splits.partition(open_dataset(data), data.split, 0)
    mesh.check_batch_size(arguments.batch, "--batch")
    freezing, step, _ = abstract_step(config, len(dataset.classes), mesh)
    model = build(config.model, len(dataset.classes), config.train.precision)
    optimizer = make_optimizer(config.optimizer, model.parameter_shapes)
    settings = Settings.of(0, make_schedule(config.optimizer, 1, 1))
    state = mesh.replicate(TrainState.create(model.init(0), optimizer, freezing, settings))
    waits, times = [], []
    stream = TrainStream(dataset.splits["train"], Resize(arguments.image_size), arguments.batch, 0)
    with contextlib.closing(stream.batches()) as batches:
        for number in range(arguments.warm_up + arguments.steps):
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            state, report = step(state, *(mesh.put_batch(batch[key]) for key in ("image", "label")))
            jax.block_until_ready(report)
            if number >= arguments.warm_up:
                waits.append(waited)
                times.append(time.perf_counter() - started)
    return waits, times


def main(argv) -> int:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("volume", "steps"))
    parser.add_argument("--models", nargs="*", choices=tuple(POINTS), help="volume: only these")
    parser.add_argument("--classes", type=int, default=1000, help="volume: outputs of the classifier")
    parser.add_argument("--model", default="mobilenet", choices=tuple(POINTS), help="steps: the network")
    parser.add_argument("--freeze-until", default="none", help="steps: where the trainable part begins")
    parser.add_argument("--data", default="digits", help="steps: the data set")
    parser.add_argument("--batch", type=int, default=32, help="steps: images in a step, over all devices")
    parser.add_argument("--steps", type=int, default=20, help="steps: how many are timed")
    parser.add_argument("--warm-up", type=int, default=3, help="steps: how many come before")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    arguments = parser.parse_args(argv)
    volume(arguments) if arguments.table == "volume" else steps(arguments)
    return 0


if __name__ == "__main__":
    flags = os.environ.get("XLA_FLAGS", "")
    if "host_platform_device_count" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={DEVICES[-1]}"
    command_line.run(main)
