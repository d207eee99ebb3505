"""The forms of MobileNet's convolutions on this device, and whole steps beside what the device can do at most.

    python benchmarks/kernels.py                                            (huge pages as the commands set them)
    GLIBC_TUNABLES= CNN_JAX_NO_TUNING=1 python benchmarks/kernels.py        (without)
    python benchmarks/kernels.py --precision=bfloat16 --batch=256           (on a GPU)

Milliseconds, median of several calls. The ceilings are measured in the same run: a matrix product, and one pass over
a large array. A step's GFLOP are those that the compiler counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from cnn_jax.cli import command_line
from cnn_jax.runtime.tuning import tune_process

SHAPES = ((112, 32, 1), (112, 64, 2), (56, 128, 1), (28, 256, 1), (14, 512, 1), (7, 1024, 1))
"""Of MobileNet's depthwise convolutions: rows and columns of the input, channels at width 1, stride."""


def milliseconds(function: Callable[..., Any], *arguments: Any, calls: int = 9) -> float:
    """Median time of a call, after one that compiles."""
    import jax

    from cnn_jax.runtime.compiling import jit

    compiled = jit(function)
    jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def normal(precision: str, *shape: int) -> Any:
    """Random numbers on the device."""
    import jax

    return jax.random.normal(jax.random.key(0), shape, "bfloat16" if precision == "bfloat16" else "float32")


def ceilings(precision: str) -> tuple[float, float]:
    """GFLOP/s of a matrix product, and GB/s of adding one to a large array, reading and writing."""
    import jax

    size = 2048 if jax.default_backend() == "cpu" else 8192
    square = normal(precision, size, size)
    product = 2 * size**3 / 1e6 / milliseconds(lambda a: a @ a, square)
    long = normal(precision, 2**27)
    return product, 2 * long.nbytes / 1e6 / milliseconds(lambda a: a + 1, long)


def first_layer(alpha: float, batch: int, precision: str) -> None:
    """Print the two forms of the layer that has three channels."""
    from cnn_jax.models.ops.convolution import plain_conv, shifted_thin_conv

    arrays = normal(precision, batch, 224, 224, 3), normal(precision, 3, 3, 3, int(32 * alpha))
    forms = (plain_conv, shifted_thin_conv)
    plain, shifted = (milliseconds(lambda x, k, f=f: f(x, k, (2, 2), ((0, 1), (0, 1))), *arrays) for f in forms)
    print("| first layer | XLA's own ms | shifted ms | ratio |\n|---|---|---|---|")
    print(f"| 3x3 of stride 2 over RGB | {plain:.2f} | {shifted:.2f} | {plain / shifted:.2f} |\n", flush=True)


def depthwise(alpha: float, batch: int, precision: str, calls: int) -> None:
    """Print a row for each shape: both forms of the convolution, and of its two gradients."""
    from cnn_jax.models.ops import depthwise as forms

    pads = ((1, 1), (1, 1))
    print("| depthwise 3x3 | grouped ms | shifted ms | ratio | gradients, grouped | shifted | ratio |")
    print("|" + "---|" * 7)
    for size, channels, stride in SHAPES:
        c, out = int(channels * alpha), size // stride
        images, kernel = normal(precision, batch, size, size, c), normal(precision, 3, 3, 1, c)
        grad, strides, cells = normal(precision, batch, out, out, c), (stride, stride), []
        for grouped, shifted, arguments in (
            (forms.grouped_conv, forms.shifted_conv, (images, kernel)),
            (forms.grouped_gradients, forms.shifted_gradients, (images, kernel, grad)),
        ):
            slow = milliseconds(lambda *a, f=grouped, s=strides: f(*a, s, pads), *arguments, calls=calls)
            fast = milliseconds(lambda *a, f=shifted, s=strides: f(*a, s, pads), *arguments, calls=calls)
            cells += [f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.2f}"]
        name = f"{size}x{size}x{c}" + (f", stride {stride}" if stride > 1 else "")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print()


def steps(name: str, alpha: float, batch: int, precision: str) -> Iterator[tuple[str, float, float]]:
    """What runs, its milliseconds, and its GFLOP."""
    import jax
    import numpy as np
    import optax

    from cnn_jax.config import ModelConfig
    from cnn_jax.models.building import build
    from cnn_jax.training.flops import compiled_step
    from cnn_jax.training.freezing import Freezing
    from cnn_jax.training.run.mesh import Mesh
    from cnn_jax.training.state import Settings, TrainState
    from cnn_jax.training.step import make_predict, make_train_step

    width = {"alpha": alpha} if name == "mobilenet" else {}
    model, mesh = build(ModelConfig(name=name, weights="none", **width), 2, precision), Mesh.create()
    rng = np.random.default_rng(0)
    images = mesh.put_batch(rng.integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8))
    labels, variables = mesh.put_batch(np.zeros(batch, np.int32)), mesh.replicate(model.init(0))

    def timed(program: Any, *first: Any) -> tuple[float, Any]:
        compiled, state, times = program.lower(*first).compile(), first[0], []
        for _ in range(7):
            started = time.perf_counter()
            result = jax.block_until_ready(compiled(state, *first[1:]))
            times.append(1e3 * (time.perf_counter() - started))
            state = result[0] if isinstance(result, tuple) else state  # a step gives its memory to the next one
        return statistics.median(times[1:]), compiled

    of_one = jax.jit(model.logits).lower(variables, images[:1])
    of_an_image = (of_one.cost_analysis() or of_one.compile().cost_analysis())["flops"]  # GPUs count compiled programs
    yield "inference", timed(make_predict(model, mesh), variables, images)[0], batch * of_an_image / 1e9
    for until in ("head", "conv_pw_10", "none") if name == "mobilenet" else ("none",):
        freezing, optimizer = Freezing.until(model, until), optax.adam(1e-4)
        state = TrainState.create(jax.tree.map(jax.numpy.array, variables), optimizer, freezing, Settings.of(0))
        program = make_train_step(model, optimizer, freezing, mesh)
        spent, compiled = timed(program, mesh.replicate(state), images, labels)
        work = compiled_step(model, freezing, variables, compiled, images) or 0
        yield f"training, freeze_until={until}", spent, work / 1e9


def main(argv) -> int:
    """Print the tables."""
    from cnn_jax.models.model import PRODUCTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alpha", type=float, default=0.75)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=tuple(PRODUCTS), default="float32")
    parser.add_argument("--models", nargs="*", choices=("mobilenet", "vgg16"), default=["mobilenet"], help="for steps")
    arguments = parser.parse_args(argv)

    import jax

    jax.config.update("jax_default_matmul_precision", PRODUCTS[arguments.precision])
    settings = arguments.alpha, arguments.batch, arguments.precision
    product, bandwidth = ceilings(arguments.precision)
    print(f"{jax.devices()[0].device_kind}, {arguments.precision}, batch {arguments.batch}, width {arguments.alpha}:")
    print(f"{product:,.0f} GFLOP/s in a matrix product, {bandwidth:,.0f} GB/s\n", flush=True)
    first_layer(*settings)
    depthwise(*settings, calls=3 if jax.default_backend() == "cpu" else 20)
    print("| step | images/s | GFLOP/s | share of the matrix product |\n|---|---|---|---|")
    for name in arguments.models:
        for what, spent, work in steps(name, *settings):
            rate = 1e3 * work / spent
            speed = 1e3 * arguments.batch / spent
            print(f"| {name}, {what} | {speed:.0f} | {rate:,.0f} | {rate / product:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    tune_process()
    command_line.run(main)
