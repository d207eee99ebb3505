"""The forms of MobileNet's convolutions on this machine, and whole steps: milliseconds, median of several calls.

    python benchmarks/kernels.py                                            (huge pages as the doors set them)
    GLIBC_TUNABLES= CNN_JAX_NO_TUNING=1 python benchmarks/kernels.py        (without)

Batch 32, float32, MobileNet of width --alpha at 224 pixels.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from cnn_jax import cli
from cnn_jax.compiling import jit


def milliseconds(function: Callable, *arguments, calls: int = 9) -> float:
    """Median time of a call, after one that compiles."""
    import jax

    compiled = jit(function)
    jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def main(argv) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alpha", type=float, default=0.75)
    alpha = parser.parse_args(argv).alpha

    import jax
    import numpy as np
    import optax

    from cnn_jax.config import ModelConfig
    from cnn_jax.models.convolution import conv, plain_conv
    from cnn_jax.models.depthwise import depthwise_conv, grouped_conv
    from cnn_jax.models.model import build
    from cnn_jax.training.freezing import Freezing
    from cnn_jax.training.mesh import Mesh
    from cnn_jax.training.state import TrainState
    from cnn_jax.training.step import make_train_step

    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    batch = 32

    print("| convolution | XLA's own ms | here ms | ratio |\n|---|---|---|---|")
    first = normal(batch, 224, 224, 3), normal(3, 3, 3, int(32 * alpha))
    rows = [
        (
            "first layer, 3x3 of stride 2 over RGB",
            milliseconds(lambda x, k: plain_conv(x, k, (2, 2), ((0, 1), (0, 1))), *first),
            milliseconds(lambda x, k: conv(x, k, (2, 2), "SAME"), *first),
        )
    ]
    for size, channels in ((112, 32), (56, 128), (28, 256), (14, 512)):
        c = int(channels * alpha)
        arrays = normal(batch, size, size, c), normal(3, 3, 1, c)
        plain = milliseconds(lambda x, k: grouped_conv(x, k, (1, 1), ((1, 1), (1, 1))), *arrays, calls=3)
        here = milliseconds(lambda x, k: depthwise_conv(x, k, (1, 1), "SAME"), *arrays)
        rows.append((f"depthwise 3x3, {size}x{size}x{c}", plain, here))
    for name, plain, here in rows:
        print(f"| {name} | {plain:.1f} | {here:.1f} | {plain / here:.1f} |", flush=True)

    model = build(ModelConfig(alpha=alpha, weights="none"), 2)
    images = rng.integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8)
    labels = np.zeros(batch, np.int32)
    variables = model.init(0)
    print("\n| step | images/s |\n|---|---|")
    print(f"| inference | {1e3 * batch / milliseconds(model.logits, variables, images):.0f} |", flush=True)
    for until in ("head", "conv_pw_10", "none"):
        freezing, optimizer = Freezing.until(model, until), optax.adam(1e-4)
        state = TrainState.create(jax.tree.map(jax.numpy.array, variables), optimizer, freezing)
        step = make_train_step(model, optimizer, freezing, 0, Mesh.create())
        times = []
        for _ in range(7):
            started = time.perf_counter()
            state, loss = step(state, images, labels)
            jax.block_until_ready(loss)
            times.append(time.perf_counter() - started)
        print(f"| training, freeze_until={until} | {batch / statistics.median(times[1:]):.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    cli.run_door(main)
