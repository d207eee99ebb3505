"""Hand a trained run to programs without this package.

    python -m cnn_jax.export --checkpoint=runs/mobilenet_ft --format=keras-h5
    python -m cnn_jax.export --checkpoint=runs/mobilenet_ft --format=stablehlo
    python -m cnn_jax.export --checkpoint=runs/mobilenet_ft --format=keras-h5 --top=False

All files take images of 0 to 255 as they are, [b, s, s, 3] (Keras models for grey images, [b, s, s, 1]). The first two
give probabilities, [b, classes]; the names of the classes, in their order, are written beside the file, as
FILE.classes.json. The third gives feature maps, as
Keras' `include_top=False`: weights to go on from.

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cnn_jax import cli
from cnn_jax.config import ModelConfig
from cnn_jax.console_text import printable
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.files import is_remote, replacing, write_atomically

if TYPE_CHECKING:
    from cnn_jax.models.model import Model
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
    top: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """keras-h5: False leaves the classifier out, as Keras' `include_top=False`; the file gives feature maps."""
    output: Path | None = None
    """The file to write; None is NAME.h5 (NAME_no_top.h5 without the classifier) or NAME.stablehlo in the run
    directory."""

    def __post_init__(self) -> None:
        if not self.top and self.format != "keras-h5":
            raise ConfigError(f"--top=False is not possible with --format={self.format}: give --format=keras-h5")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, write the file, say how to use it; returns the exit code."""
    arguments = cli.parse(Arguments, argv, door="export", description=__doc__)
    from cnn_jax.training import runs  # JAX and TensorFlow load only once the flags are right

    run = runs.load(arguments.checkpoint)
    name = run.config.name if arguments.top else f"{run.config.name}_no_top"
    output = arguments.output or run.directory / f"{name}{SUFFIXES[arguments.format]}"
    classes = output.with_name(f"{output.name}.classes.json")
    try:
        with replacing(output) as temporary:
            shape = write(run, arguments.format, temporary, arguments.top)
            written = temporary.stat().st_size
        if arguments.top:
            write_atomically(classes, json.dumps(run.classes, indent=1))
    except OSError as error:
        raise RunError(f"--output={output} cannot be written: {error.strerror or error}") from error
    size, gives = run.model.image_size, "probabilities" if arguments.top else "feature maps"
    print(f"written    {printable(str(output))} ({written / 1e6:.2f} MB)")
    if arguments.top:
        print(f"           {printable(str(classes))}")
    background = run.config.data.background
    print(f"resize     {run.resize}, as in training, before you hand images over")
    print(f"colours    upright by EXIF, transparency {'dropped' if background == 'drop' else f'on {background}'}")
    grey = (run.model.grey or run.model.channels == 1) and arguments.format == "keras-h5"
    takes = f"grey images [b, {size}, {size}, 1]" if grey else f"images [b, {size}, {size}, 3]"
    print(f"takes      {takes} of 0 to 255; gives {gives} [b, {', '.join(map(str, shape))}]")
    if is_remote(output):
        print(f"fetch      gcloud storage cp {output} .")
    print(f"use        {_usage(arguments.format, Path(output.name) if is_remote(output) else output)}")
    return 0


def write(run: "TrainedRun", kind: Format, path: Path, top: bool = True) -> tuple[int, ...]:
    """Write the network of a run to `path`; returns the shape of its result for one image.

    Args:
        top: with the classifier, or up to the feature maps.
    """
    model = run.model
    if kind == "stablehlo":
        from cnn_jax.models.exported import serialize

        path.write_bytes(serialize(model, run.variables))
    else:
        from cnn_jax.weights import keras_model

        if not top:
            model = without_classifier(model, run.config.model)
        keras_model.write(path, model, run.variables, run.config.name, probabilities=top)
    return tuple(model.output_shapes[str(model.layers[-1].name)].shape[1:])


def without_classifier(model: "Model", config: ModelConfig) -> "Model":
    """The model up to its feature maps; that of a Keras file up to what its classifier takes."""
    from cnn_jax.models.architectures import ARCHITECTURES
    from cnn_jax.models.head import HEAD

    if config.name == "keras":
        return replace(model, layers=model.layers[: len(model.layers_before(HEAD, "--top"))])
    return replace(model, layers=ARCHITECTURES[config.name].body(config))


def _usage(kind: Format, path: Path) -> str:
    if kind == "stablehlo":
        return f"jax.export.deserialize(bytearray(pathlib.Path({str(path)!r}).read_bytes())).call(images)"
    return f"keras.models.load_model({str(path)!r}, compile=False).predict(images)"


if __name__ == "__main__":
    cli.run_door(main)
