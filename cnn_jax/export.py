"""Hand a trained run to programs without this package: phones, browsers, servers.

    python -m cnn_jax.export --checkpoint=runs/mobilenet_ft --format=litert
    python -m cnn_jax.export --checkpoint=runs/mobilenet_ft --format litert litert-int8 onnx --output=out
    python -m cnn_jax.export --checkpoint=runs/mobilenet_ft --format=keras-h5 --top=False

The files take images of 0 to 255 as they are, [b, h, w, 3] (Keras' of networks for grey images, [b, h, w, 1]), and give
probabilities, [b, classes]: what normalises them is inside. How an image becomes so large is said, and written into the
file and export.json; the names of the classes are there too, and in labels.txt. Each file is then run by its own
runtime on the images that the run is measured on.

With --top=False, keras-h5 gives feature maps, as Keras' `include_top=False`: weights to go on from.

docs/deploy.md shows how the files are used.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cnn_jax.cli import command_line
from cnn_jax.errors import ConfigError, RunError
from cnn_jax.exporting import formats
from cnn_jax.exporting.formats import FORMATS, FormatName
from cnn_jax.io.escaping import printable
from cnn_jax.io.writing import is_remote, writing

if TYPE_CHECKING:
    from cnn_jax.training.trained_run import TrainedRun


@dataclass(frozen=True)
class Arguments:
    """Flags of this command."""

    checkpoint: Path
    """A run directory (its best checkpoint is used), or one of the folders in its `checkpoints`."""
    format: tuple[FormatName | Literal["all"], ...]
    """litert: phones. litert-float16: half as large. litert-int8: a quarter, and faster. onnx: servers and browsers.
    saved-model: TensorFlow. keras, keras-h5: a whole model that `keras.models.load_model` opens. stablehlo: a function
    for `jax.export`. all: all of them."""
    top: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """keras-h5: False leaves the classifier out, as Keras' `include_top=False`; the file gives feature maps."""
    output: Path | None = None
    """The file to write, or the folder for several; None is the run directory, with the run's name and the suffix of
    the format."""
    check_images: int = 1000
    """Images of validation that each file is run on, drawn by `seed` where there are more; 0 checks nothing."""
    calibration_images: int = 200
    """litert-int8: training images that the ranges of activations are measured on."""
    seed: int = 0
    """Draws the images."""
    dataset: str | None = None
    """Where the run's data set lies now, `folder:DIR`; None is where it was."""

    def __post_init__(self) -> None:
        if not self.format:
            raise ConfigError(f"which format? Give --format: {', '.join(FORMATS)} or all")
        if not self.top and self.formats != ("keras-h5",):
            other = next(name for name in self.formats if name != "keras-h5")
            raise ConfigError(f"--top=False is not possible with --format={other}: give --format=keras-h5")
        if self.check_images < 0:
            raise ConfigError(f"--check-images={self.check_images} is not possible: it must be at least 0")
        if self.calibration_images < 1:
            raise ConfigError(f"--calibration-images={self.calibration_images} is not possible: it must be at least 1")

    @property
    def formats(self) -> tuple[FormatName, ...]:
        """Those that are asked for, each once."""
        named = tuple(FORMATS) if "all" in self.format else self.format
        return tuple(dict.fromkeys(name for name in named if name != "all"))


def main(argv: Sequence[str]) -> int:
    """Parse the command line, write the files and check them; returns the exit code."""
    arguments = command_line.parse(Arguments, argv, command="export", description=__doc__)
    formats.require_libraries(arguments.formats)
    from cnn_jax.exporting import exporting  # JAX and TensorFlow load only once the flags are right
    from cnn_jax.training import trained_run
    from cnn_jax.training.run.logs import Reporter

    run, reporter = trained_run.load(arguments.checkpoint), Reporter()
    if not arguments.top:
        _without_classifier(run, arguments)
        return 0
    targets = _targets(run, arguments)
    choices = exporting.Choices(arguments.check_images, arguments.calibration_images, arguments.seed, arguments.dataset)
    return exporting.export(run, targets, choices, reporter)


def _targets(run: "TrainedRun", arguments: Arguments) -> dict[FormatName, Path]:
    """Where each format goes.

    Raises:
        ConfigError: several formats, and a file for one.
    """
    names, output = arguments.formats, arguments.output
    if output is not None and len(names) == 1 and not output.is_dir():
        return {names[0]: output}
    folder = run.directory if output is None else output
    if output is not None and output.exists() and not output.is_dir():
        raise ConfigError(f"--output={output} is a file: give a folder for {len(names)} formats")
    if output is not None and not is_remote(output):
        with writing(f"--output={output}"):
            output.mkdir(exist_ok=True)
    return {name: folder / formats.file_name(run.config.name, name) for name in names}


def _without_classifier(run: "TrainedRun", arguments: Arguments) -> None:
    """Write the layers up to the feature maps as keras-h5."""
    from cnn_jax.exporting import conversion, features

    output = arguments.output or run.directory / f"{run.config.name}_no_top.h5"
    with tempfile.TemporaryDirectory() as folder:
        shape = features.write(run, Path(folder) / "model.h5")
        try:
            conversion.put(Path(folder) / "model.h5", output)
            written = conversion.size_of(Path(folder) / "model.h5")
        except OSError as error:
            raise RunError(f"--output={output} cannot be written: {error.strerror or error}") from error
    height, width, _ = run.model.image_shape
    print(f"written    {printable(str(output))} ({written / 1e6:.2f} MB)")
    channels = 1 if run.model.takes_grey else 3
    gives = f"feature maps [b, {', '.join(map(str, shape))}]"
    print(f"takes      images [b, {height}, {width}, {channels}] of 0 to 255; gives {gives}")
    if is_remote(output):
        print(f"fetch      gcloud storage cp {output} .")


if __name__ == "__main__":
    command_line.run(main)
