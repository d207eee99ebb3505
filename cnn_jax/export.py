"""Hand a trained run to programs without this package.

    python -m cnn_jax.export --checkpoint=runs/mobilenet_ft --format=keras-h5
    python -m cnn_jax.export --checkpoint=runs/mobilenet_ft --format=stablehlo

Both files take images of 0 to 255 as they are, [b, s, s, 3], and give probabilities, [b, classes]. The names of the
classes, in the order of the probabilities, are written beside the file, as FILE.classes.json.

In Keras 3, with any backend:

    import keras
    model = keras.models.load_model("runs/mobilenet_ft/mobilenet_ft.h5", compile=False)
    probabilities = model.predict(images)

In JAX, on CPU, CUDA and TPU:

    import jax.export, pathlib
    network = jax.export.deserialize(bytearray(pathlib.Path("runs/mobilenet_ft/mobilenet_ft.stablehlo").read_bytes()))
    probabilities = network.call(images)                       # images: uint8
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cnn_jax import cli
from cnn_jax.errors import RunError
from cnn_jax.files import is_remote, replacing, write_atomically

if TYPE_CHECKING:
    from cnn_jax.training.runs import TrainedRun

Format = Literal["keras-h5", "stablehlo"]
SUFFIXES: dict[Format, str] = {"keras-h5": ".h5", "stablehlo": ".stablehlo"}


@dataclass(frozen=True)
class Arguments:
    """Flags of this door."""

    checkpoint: Path
    """A run directory (its best checkpoint is used), or one of the folders in its `checkpoints`."""
    format: Format
    """keras-h5: a whole model that `keras.models.load_model` opens. stablehlo: a function for `jax.export`."""
    output: Path | None = None
    """The file to write; None is NAME.h5 or NAME.stablehlo in the run directory."""


def main(argv: Sequence[str]) -> int:
    """Parse the command line, write the file, say how to use it; returns the exit code."""
    arguments = cli.parse(Arguments, argv, door="export", description=__doc__)
    from cnn_jax.training import runs  # JAX and TensorFlow load only once the flags are right

    run = runs.load(arguments.checkpoint)
    output = arguments.output or run.directory / f"{run.config.name}{SUFFIXES[arguments.format]}"
    classes = output.with_name(f"{output.name}.classes.json")
    try:
        with replacing(output) as temporary:
            write(run, arguments.format, temporary)
            written = temporary.stat().st_size
        write_atomically(classes, json.dumps(run.classes, indent=1))
    except OSError as error:
        raise RunError(f"--output={output} cannot be written: {error.strerror or error}") from error
    size = run.model.image_size
    print(f"written    {output} ({written / 1e6:.1f} MB)")
    print(f"           {classes}")
    print(f"resize     {run.resize}, as in training, before you hand images over")
    print(f"takes      images [b, {size}, {size}, 3] of 0 to 255; gives probabilities [b, {len(run.classes)}]")
    if is_remote(output):
        print(f"fetch      gcloud storage cp {output} .")
    print(f"use        {_usage(arguments.format, Path(output.name) if is_remote(output) else output)}")
    return 0


def write(run: "TrainedRun", kind: Format, path: Path) -> None:
    """Write the network of a run to `path`."""
    if kind == "stablehlo":
        from cnn_jax.models.exported import serialize

        path.write_bytes(serialize(run.model, run.variables))
    else:
        from cnn_jax.weights import keras_model

        keras_model.write(path, run.model, run.variables, run.config.name)


def _usage(kind: Format, path: Path) -> str:
    if kind == "stablehlo":
        return f"jax.export.deserialize(bytearray(pathlib.Path({str(path)!r}).read_bytes())).call(images)"
    return f"keras.models.load_model({str(path)!r}, compile=False).predict(images)"


if __name__ == "__main__":
    cli.run_door(main)
