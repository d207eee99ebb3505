"""How near `evaluate` comes to the bare forward pass: images/s of both, in turn, on the same network.

    python benchmarks/evaluation.py runs/mobilenet_ft --dataset=folder:cats_and_dogs --images=2000

The forward pass is the compiled function alone, called again and again on one batch that is in memory. The evaluation
reads, decodes and resizes every file and collects the predictions, as the command does; files are taken again from the
first where the data set has fewer. Compilation is in neither. Prints a row a round and the median of the ratios.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

from cnn_jax.cli import command_line


def main(argv) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("--dataset", help="as --data.dataset; the run's own where it is left out")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args(argv)

    import jax
    import numpy as np

    from cnn_jax.data import sources
    from cnn_jax.data.stream import evaluation_batches
    from cnn_jax.evaluation.evaluator import predict_all
    from cnn_jax.training import trained_run
    from cnn_jax.training.run.mesh import Mesh
    from cnn_jax.training.step import make_predict

    run, mesh = trained_run.load(arguments.run), Mesh.create()
    data = replace(run.config.data, dataset=arguments.dataset or run.config.data.dataset)
    split = next(iter(sources.open_dataset(data).splits.values()))
    examples = split.take(np.arange(arguments.images) % len(split))
    batch_size = data.eval_batch_size
    variables, step = jax.device_put(run.variables, mesh.replicated), make_predict(run.model, mesh)
    one = next(iter(evaluation_batches(examples, run.resize, batch_size)))["image"]
    batches = -(-arguments.images // batch_size)

    def forward() -> None:
        batch = mesh.put_batch(one)
        for _ in range(batches):
            jax.block_until_ready(step(variables, batch))

    def evaluation() -> None:
        predict_all(lambda x: step(variables, mesh.put_batch(x)), evaluation_batches(examples, run.resize, batch_size))

    def images_per_second(function, images: int) -> float:
        started = time.perf_counter()
        function()
        return images / (time.perf_counter() - started)

    jax.block_until_ready(step(variables, mesh.put_batch(one)))
    print("| round | forward pass images/s | evaluate images/s | ratio |\n|---|---|---|---|")
    ratios = []
    for number in range(1, arguments.rounds + 1):
        bare = images_per_second(forward, batches * batch_size)
        whole = images_per_second(evaluation, arguments.images)
        ratios.append(whole / bare)
        print(f"| {number} | {bare:.0f} | {whole:.0f} | {ratios[-1]:.2f} |", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f}")
    return 0


if __name__ == "__main__":
    command_line.run(main)
