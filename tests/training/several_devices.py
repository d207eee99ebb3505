"""What `test_distributed` has other processes do: python -m tests.training.several_devices PART FOLDER [PORT NUMBER].

Each part says what happened in FOLDER/PART-NUMBER.json.
"""

import json
import os
import runpy
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnn_jax.cli import command_line
from cnn_jax.config import (
    AugmentConfig,
    CheckpointConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from cnn_jax.runtime import distributed

WHOLE = Config(
    name="small",
    model=ModelConfig(
        name="simple_cnn", weights="none", image_size=16, filters=(4, 8), kernel_size=3, batch_norm=True, dropout=0.2
    ),
    data=DataConfig(dataset="digits", batch_size=16, eval_batch_size=48, steps_per_epoch=4),
    optimizer=OptimizerConfig(learning_rate=3e-3, clip_norm=1.0),
    train=TrainConfig(epochs=2, tensorboard=False, ema_decay=0.9),
    checkpoint=CheckpointConfig(every_minutes=1e6),
)
"""Eight steps. 359 images for validation: seven batches and 23 images, most of the last batch in one process."""
FROZEN = replace(
    WHOLE,
    optimizer=replace(WHOLE.optimizer, head_name="lbfgs", l2=0.01),
    train=replace(WHOLE.train, freeze_until="conv2", feature_cache="on", ema_decay=None, head_epochs=1),
    checkpoint=CheckpointConfig(),
)


def taught(folder: Path) -> dict[str, Config]:
    """Runs whose teacher is FOLDER/one: asked once for each image, and inside of the step."""
    once = replace(WHOLE, train=replace(WHOLE.train, teacher=str(folder / "one"), epochs=1))
    return {"once": once, "inside": replace(once, data=replace(once.data, augment=AugmentConfig(rotation=10)))}


def eight_devices(folder: Path, number: int) -> dict[str, Any]:
    """One process with eight devices: four of them train; then checkpoints cross between eight and one."""
    from cnn_jax.training import resident
    from cnn_jax.training.run.mesh import Mesh
    from tests.training.helpers import train

    create = Mesh.create
    with pytest_patch() as patched:
        patched.setattr(Mesh, "create", lambda: create(4))
        train(WHOLE, folder / "four")
    train(WHOLE, folder / "one_to_eight")
    with pytest_patch() as patched:
        patched.setattr(resident, "device_bytes", lambda: 2**30)
        train(WHOLE, folder / "resident")
    for name, config in taught(folder).items():
        train(config, folder / f"{name}_on_eight")
    with pytest_patch() as patched:
        hook_step(6, lambda: signal.raise_signal(signal.SIGTERM), patched)
        stopped = train(WHOLE, folder / "eight_to_one").result
    scaling = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "scaling.py"))
    collectives = {}
    for point in ("conv2", "head"):
        config = replace(WHOLE, train=replace(WHOLE.train, freeze_until=point))
        freezing, step, shapes = scaling["abstract_step"](config, 10, create())
        trainable = 4 * scaling_count(freezing.split(shapes[0].params)[0])
        collectives[point] = [trainable, scaling["reduced"](step.lower(*shapes).compile().as_text())]
    return {"stopped": stopped["steps"], "collectives": collectives}


def two_processes(folder: Path, number: int) -> dict[str, Any]:
    """Two processes train."""
    from tests.training.helpers import train

    return {"status": train(WHOLE, folder / "two").result["status"]}


def two_stopped(folder: Path, number: int) -> dict[str, Any]:
    """The second of two processes gets a signal, and both go on after it."""
    from tests.training.helpers import train

    with pytest_patch() as patched:
        if number == 1:
            hook_step(3, lambda: signal.raise_signal(signal.SIGTERM), patched)
        stopped = train(WHOLE, folder / "stopped")
    train(WHOLE, folder / "stopped")
    return {"stopped": stopped.result["steps"], "by": stopped.stopped_by}


def two_mistaken(folder: Path, number: int) -> dict[str, Any]:
    """Two processes make mistakes; then the second is killed in the middle of a run."""
    from tests.training.helpers import train, with_

    here = folder / "elsewhere" / str(number)
    other = with_(WHOLE, data={"dataset": "folder:nowhere"}) if number else WHOLE
    errors = [
        error_of(lambda: train(replace(WHOLE, seed=number), folder / "differs")),
        error_of(lambda: train(other, folder / "fails")),
        error_of(lambda: train(WHOLE, here)),
        error_of(lambda: train(with_(WHOLE, data={"batch_size": 18}), folder / "odd")),
    ]
    report(folder, "two_mistaken", number, {"errors": errors})
    die_in_step(6, 1, number, folder / "killed")
    train(WHOLE, folder / "killed")
    return {}


def two_again(folder: Path, number: int) -> dict[str, Any]:
    """The killed run goes on to its end; in another one the first process, where the others meet, is killed."""
    from cnn_jax import evaluate
    from tests.training.helpers import train

    train(FROZEN, folder / "two_frozen")
    evaluate.main([f"--checkpoint={folder / 'two'}", f"--output={folder / 'evaluation.json'}"])
    result = train(WHOLE, folder / "killed").result
    report(folder, "two_again", number, {"status": result["status"]})
    die_in_step(6, 0, number, folder / "killed_first")
    train(WHOLE, folder / "killed_first")
    return {}


def scaling_count(tree: Any) -> int:
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def pytest_patch() -> Any:
    import pytest

    return pytest.MonkeyPatch.context()


def hook_step(step: int, action: Callable[[], None], patched: Any) -> None:
    """Have something happen at the beginning of the step of that number."""
    from cnn_jax.training.epochs import Epochs

    run_step = Epochs._step

    def stepping(self, state, batch):
        if int(state.step) + 1 == step:
            action()
        return run_step(self, state, batch)

    patched.setattr(Epochs, "_step", stepping)


def die_in_step(step: int, victim: int, number: int, workdir: Path) -> None:
    """Have the process of number `victim` killed in a step, once the first epoch's checkpoint is whole."""

    def die() -> None:
        while not (workdir / "checkpoints" / "4").is_dir():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    if number == victim:
        import pytest

        hook_step(step, die, pytest.MonkeyPatch())


def error_of(action: Callable[[], Any]) -> list[str]:
    """Kind and message of the user error that it ends with."""
    from cnn_jax.errors import UserError

    try:
        action()
    except UserError as error:
        return [type(error).__name__, str(error)]
    return ["", ""]


def report(folder: Path, part: str, number: int, content: dict[str, Any]) -> None:
    (folder / f"{part}-{number}.json").write_text(json.dumps(content))


def main(argv) -> int:
    part, folder, port, number = argv[0], Path(argv[1]), argv[2], int(argv[3])
    if port != "none":
        distributed.join(distributed.DistributedArguments(f"localhost:{port}", 2, number, lost_seconds=60))
    content = globals()[part](folder, number)
    if content:
        report(folder, part, number, content)
    return 0


if __name__ == "__main__":
    command_line.run(main)
