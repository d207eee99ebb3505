"""The same experiment on this machine's accelerator and on its CPU: losses, speed, memory, determinism.

    python benchmarks/gpu.py cats_and_dogs mobilenet_7_5_224_tf.h5 --alpha=0.75
    python benchmarks/gpu.py --self-test                        (a small network on digits, on the CPU alone)

Each run is a process of its own. A table compares losses with those of float32 on the CPU; the exit code is 1 where
they differ by more than `TOLERANCES`, or where two runs with deterministic operations are not bit-identical.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cnn_jax.cli import command_line

TOLERANCES = {"float32": 2e-3, "bfloat16": 3e-2}
"""Of the training losses of all epochs, relative to float32 on the CPU: 50 steps of the same arithmetic in another
order stay within 3e-4 (tests/training/test_keras_training.py); bfloat16 has 8 bits of mantissa, 4e-3 an operation."""

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def run_one(config_file: Path, workdir: Path) -> dict[str, Any]:
    """In a process of its own: train, and say what it took."""
    import jax

    from cnn_jax.config.serialization import from_json
    from cnn_jax.training.freezing import digest
    from cnn_jax.training.loop import fit
    from cnn_jax.training.run.checkpoints import Checkpoints
    from cnn_jax.training.run.logs import Reporter
    from cnn_jax.training.setup import set_up

    config = from_json(config_file.read_text(), str(config_file))
    result = fit(config, workdir, Reporter()).result
    memory = jax.devices()[0].memory_stats() or {}
    job = set_up(config, workdir / "split.json")
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        newest = checkpoints.latest()
        assert newest is not None
        like = job.initial_state(len(job.phases) - 1).checkpoint(job.phases[-1].freezing)
        state = checkpoints.restore(newest, like)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {
        "device": jax.devices()[0].device_kind,
        "losses": [line["loss"] for line in lines if line["split"] == "train"],
        "accuracy": result["best"]["accuracy"],
        "speed": max(line["images_per_second"] for line in lines if line["split"] == "train"),
        "megabytes": memory.get("peak_bytes_in_use", 0) / 2**20,
        "digest": digest(state),
    }


def start(config: Any, platform: str, deterministic: bool) -> dict[str, Any]:
    """`run_one` on a platform, `cpu` or `accelerator`."""
    from cnn_jax.config.serialization import to_json

    environment = dict(os.environ)
    if platform == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    if deterministic:
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {DETERMINISTIC}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(to_json(config))
        command = [sys.executable, __file__, "--one", f"{folder}/config.json", f"{folder}/run"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])


def experiment(arguments: argparse.Namespace, precision: str) -> Any:
    """What is run: `mobilenet_ft` on the photographs given, or the small network on digits."""
    from cnn_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig

    train = TrainConfig(
        epochs=arguments.epochs,
        freeze_until="none" if arguments.self_test else arguments.freeze_until,
        feature_cache="off",
        precision=precision,
        tensorboard=False,
    )
    if arguments.self_test:
        model = ModelConfig(name="simple_cnn", weights="none", image_size=16, filters=(8, 16), dropout=0.0)
        data = DataConfig(dataset="digits", batch_size=32, steps_per_epoch=10)
        return Config(model=model, data=data, train=train)
    model = ModelConfig(alpha=arguments.alpha, weights=str(arguments.weights.absolute()), dropout=0.0)
    data = DataConfig(dataset=f"folder:{arguments.directory.absolute()}", batch_size=arguments.batch)
    return Config(model=model, data=data, optimizer=OptimizerConfig(learning_rate=1e-4), train=train)


def compare(arguments: argparse.Namespace) -> int:
    """Run all of them and print the table; 1 where something is not as promised."""
    accelerator = "cpu" if arguments.self_test else "accelerator"
    plan = [
        ("cpu", "float32", False),
        (accelerator, "float32", False),
        (accelerator, "bfloat16", False),
        (accelerator, "float32", True),
        (accelerator, "float32", True),
    ]
    print("| device | precision | deterministic | images/s | peak MB | accuracy | largest difference of a loss | ok |")
    print("|---|---|---|---|---|---|---|---|")
    results, good = [], True
    for platform, precision, deterministic in plan:
        result = start(experiment(arguments, precision), platform, deterministic)
        if platform == "accelerator" and result["device"] == "cpu":
            raise SystemExit("JAX sees no accelerator here: pip install 'cnn_jax[cuda]', or --self-test")
        results.append(result)
        pairs = zip(result["losses"], results[0]["losses"], strict=True)
        difference = max(abs(loss - other) / abs(other) for loss, other in pairs)
        ok = difference <= TOLERANCES[precision]
        good = good and ok
        cells = [result["device"], precision, "yes" if deterministic else "no", f"{result['speed']:.0f}"]
        cells += [f"{result['megabytes']:.0f}" if result["megabytes"] else "not known", f"{result['accuracy']:.4f}"]
        print(f"| {' | '.join([*cells, f'{difference:.1e}', 'yes' if ok else 'NO'])} |", flush=True)
    same = results[-1]["digest"] == results[-2]["digest"]
    print(f"two runs with {DETERMINISTIC}: {'bit-identical' if same else 'DIFFERENT'}")
    return 0 if good and same else 1


def main(argv) -> int:
    """Parse, then compare."""
    if argv and argv[0] == "--one":
        print(json.dumps(run_one(Path(argv[1]), Path(argv[2]))))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?", help="has train and validation")
    parser.add_argument("weights", type=Path, nargs="?", help="Keras' .h5 file for this alpha")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--freeze-until", default="conv_pw_10")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--self-test", action="store_true", help="a small network on digits, on the CPU alone")
    arguments = parser.parse_args(argv)
    if not arguments.self_test and arguments.weights is None:
        parser.error("give the folder of the images and the weights, or --self-test")
    return compare(arguments)


if __name__ == "__main__":
    command_line.run(main)
