"""Whole jobs on an accelerator: seconds from the command on, and how much of the bare step's speed is left.

    python benchmarks/gpu_jobs.py cats_and_dogs mobilenet_7_5_224_tf.h5 --alpha=0.75
    python benchmarks/gpu_jobs.py --self-test                       (24 made images and a small network, on any machine)

1. Every layer of MobileNet on 25,000 photographs, the given ones repeated, in bfloat16 with `--augment`: the best epoch
   beside the bare step on a batch that lies on the device. `--peer`: the same in PyTorch, images on the device,
   torchvision's v2 transforms there. They draw one change for a whole batch; here each image has its own.
2. Five epochs from conv_pw_10 on the photographs as they are, empty caches, then warm.
3. From SIGTERM in the middle of such training to the end of the process.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent


def repeated(folder: Path, target: Path, count: int) -> Path:
    """A folder with the same validation images, and so many for training: links to those of `folder`, in turn."""
    shutil.copytree(folder / "validation", target / "validation", copy_function=os.link)
    classes = [path for path in sorted((folder / "train").iterdir()) if path.is_dir()]
    for of_class in classes:
        (target / "train" / of_class.name).mkdir(parents=True)
        files = sorted(path for path in of_class.iterdir() if path.is_file())
        for number in range(count // len(classes)):
            source = files[number % len(files)]
            (target / "train" / of_class.name / f"{number:06d}{source.suffix}").symlink_to(source.absolute())
    return target


def made_photographs(target: Path) -> Path:
    """Two classes of noise, 12 images each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 4)):
        for name in ("cats", "dogs"):
            (target / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
                image.save(target / split / name / f"{number}.jpg")
    return target


def flags(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Of `train`, for the network and images of all jobs."""
    found = [f"--data.dataset=folder:{folder}", "--report=False"]
    if arguments.self_test:
        return ["--exp=simple_cnn_digits", "--model.image_size=16", *found]
    return ["--exp=mobilenet_ft", f"--model.weights={arguments.weights}", f"--model.alpha={arguments.alpha}", *found]


def whole(arguments: argparse.Namespace, folder: Path, epochs: int) -> list[str]:
    """Flags of a job that trains every layer on changed images."""
    return [
        *flags(arguments, folder),
        *("--augment", "--train.freeze_until=none", f"--train.precision={arguments.precision}"),
        *(f"--data.batch_size={arguments.batch}", f"--train.epochs={epochs}"),
        *(("--data.augment.on=device",) if arguments.self_test else ()),
    ]


def train(given: list[str], workdir: Path, cache: Path) -> tuple[float, str, list[dict[str, Any]]]:
    """Wall seconds, what the run says of them, and the lines of the log about training."""
    command = [sys.executable, "-m", "cnn_jax.train", *given, f"--workdir={workdir}"]
    started = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, "CNN_JAX_CACHE": str(cache)}, text=True, capture_output=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    told = next(line for line in done.stdout.splitlines() if line.startswith("time "))
    return seconds, told, [line for line in lines if line["split"] == "train"]


def bare_step(arguments: argparse.Namespace) -> float:
    """Images a second of the training step alone, on one batch that lies on the device, 20 steps in flight."""
    sys.path.insert(0, str(HERE / "peers"))
    os.environ["PEERS_PRECISION"] = arguments.precision
    import here

    size, rng = (16, np.random.default_rng(0)) if arguments.self_test else (224, np.random.default_rng(0))
    images = rng.integers(0, 256, (arguments.batch, size, size, 3), dtype=np.uint8)
    labels = np.zeros(arguments.batch, np.int32)
    network = ("simple_cnn", {}) if arguments.self_test else ("mobilenet", {"alpha": arguments.alpha})
    task, times = here.training(network[0], "none", images, labels, **network[1]), []
    task(2)
    for _ in range(5):
        started = time.perf_counter()
        task(20)
        times.append(time.perf_counter() - started)
    return 20 * arguments.batch / statistics.median(times)


def every_layer(arguments: argparse.Namespace, scratch: Path) -> None:
    """Print the first job."""
    photographs = repeated(arguments.directory, scratch / "many", arguments.photographs)
    seconds, told, lines = train(whole(arguments, photographs, arguments.epochs), scratch / "every", scratch / "cache")
    speed, bare = max(line["images_per_second"] for line in lines), measured(arguments, "--bare")
    epochs = ", ".join(f"{arguments.photographs / line['images_per_second']:.1f}" for line in lines)
    print(f"every layer, {arguments.photographs} photographs, augmented: {seconds:.1f} s; epochs {epochs} s")
    print(f"  best epoch {speed:,.0f} images/s, bare step {bare:,.0f}: {speed / bare:.2f} of it")
    print(f"  {told}", flush=True)
    if arguments.peer:
        peer = measured(arguments, "--torch", str(photographs))
        print(f"  PyTorch, images and transforms on the device: {peer:,.0f} images/s; here {speed / peer:.2f} of it")


def measured(arguments: argparse.Namespace, *what: str) -> float:
    """What this script measures in a process of its own, so that no other process holds the device's memory."""
    own = ["--self-test"] if arguments.self_test else [str(arguments.directory), str(arguments.weights)]
    settings = [f"--{name}={getattr(arguments, name)}" for name in ("alpha", "batch", "precision", "epochs")]
    done = subprocess.run([sys.executable, __file__, *own, *settings, *what], text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.splitlines()[-1])


def five_epochs(arguments: argparse.Namespace, scratch: Path) -> None:
    """Print the second job."""
    until = "head" if arguments.self_test else "conv_pw_10"
    given = [*flags(arguments, arguments.directory), f"--train.freeze_until={until}", "--train.epochs=5"]
    for caches in ("empty", "warm"):
        seconds, told, _ = train(given, scratch / f"five-{caches}", scratch / "five-cache")
        print(f"5 epochs from {until}, caches {caches}: {seconds:.1f} s\n  {told}", flush=True)


def stopping(arguments: argparse.Namespace, scratch: Path) -> None:
    """Print the third job: the signal comes after the first epoch, with the programs of the first job at hand."""
    given = whole(arguments, scratch / "many", 1000)
    command = [sys.executable, "-m", "cnn_jax.train", *given, f"--workdir={scratch / 'stopped'}"]
    environment = {**os.environ, "CNN_JAX_CACHE": str(scratch / "cache")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = scratch / "stopped" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.1)
    started = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    seconds = time.perf_counter() - started
    print(f"from SIGTERM to the end: {seconds:.1f} s, exit code {process.returncode}\n  {output.splitlines()[-1]}")


def torch_job(arguments: argparse.Namespace, folder: Path) -> float:
    """Images a second of PyTorch's best epoch: images as bytes on the device, transforms and training there."""
    sys.path.insert(0, str(HERE / "peers"))
    os.environ.update(PEERS_PRECISION=arguments.precision, PEERS_TORCH_COMPILE="0" if arguments.self_test else "1")
    import torch
    import torch_side
    from torch import nn
    from torchvision.transforms import v2

    size, batch = 16 if arguments.self_test else 224, arguments.batch
    files = sorted((folder / "train").glob("*/*"))
    names = sorted(path.name for path in (folder / "train").iterdir())
    decoded = {real: np.asarray(Image.open(real).convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
               for real in {path.resolve() for path in files}}  # fmt: skip
    images = torch.from_numpy(np.stack([decoded[path.resolve()] for path in files])).to(torch_side.DEVICE)
    labels = torch.tensor([names.index(path.parent.name) for path in files], device=torch_side.DEVICE)
    change = v2.Compose([
        v2.RandomHorizontalFlip(),
        v2.RandomAffine(20, (0.1, 0.1), (0.9, 1.1), shear=10, interpolation=v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(brightness=0.2),
    ])  # fmt: skip
    layers = torch_side._network("simple_cnn" if arguments.self_test else "mobilenet", size, alpha=arguments.alpha)
    model = nn.Sequential(*layers.values()).to(torch_side.DEVICE, memory_format=torch.channels_last).train()
    run = torch.compile(model) if torch_side.COMPILED else model
    optimizer, speeds = torch.optim.Adam(model.parameters(), 1e-4, fused=torch_side.DEVICE == "cuda"), []
    for _ in range(arguments.epochs):
        started, order = time.perf_counter(), torch.randperm(len(files), device=torch_side.DEVICE)
        for first in range(0, len(files) - batch + 1, batch):
            chosen = order[first : first + batch]
            changed = change(images[chosen].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            with torch_side._mixed():
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(run(changed), labels[chosen])
            loss.backward()
            optimizer.step()
        loss.item()
        speeds.append(len(files) // batch * batch / (time.perf_counter() - started))
    return max(speeds)


def main() -> None:
    """Run the jobs that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, nargs="?", help="has train and validation")
    parser.add_argument("weights", type=Path, nargs="?", help="Keras' .h5 file for this alpha")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--photographs", type=int, default=25_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3, help="of the first job")
    parser.add_argument("--precision", choices=("float32", "tensorfloat32", "bfloat16"), default="bfloat16")
    parser.add_argument("--jobs", nargs="+", type=int, choices=(1, 2, 3), default=[1, 2, 3])
    parser.add_argument(
        "--peer", action="store_true", help="PyTorch beside the first job (pip install 'cnn_jax[bench]')"
    )
    parser.add_argument("--self-test", action="store_true", help="24 made images and a small network")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--torch", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.self_test and arguments.weights is None:
        parser.error("give the folder of the images and the weights, or --self-test")
    if arguments.bare or arguments.torch:
        print(bare_step(arguments) if arguments.bare else torch_job(arguments, arguments.torch))
        return
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if arguments.self_test:
            arguments.directory, arguments.batch, arguments.photographs = made_photographs(scratch / "made"), 8, 64
        if 3 in arguments.jobs and 1 not in arguments.jobs:
            repeated(arguments.directory, scratch / "many", arguments.photographs)
        for number, job in ((1, every_layer), (2, five_epochs), (3, stopping)):
            if number in arguments.jobs:
                job(arguments, scratch)


if __name__ == "__main__":
    main()
