"""Look inside a network: filters, feature maps, what each layer does, and where the evidence for a class lies.

    python -m cnn_jax.explain --checkpoint=runs/mobilenet_ft photos/*.jpg
    python -m cnn_jax.explain cat.jpg --model.name=mobilenet --model.weights=imagenet --layers conv1_relu

Writes PNG files and one page, index.html, that shows them all.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cnn_jax.api import inference
from cnn_jax.cli import command_line
from cnn_jax.config.image_size import sides
from cnn_jax.config.validation import near, require
from cnn_jax.errors import EXIT_FAILED, ConfigError
from cnn_jax.io.writing import writing
from cnn_jax.weights.options import PretrainedConfig

if TYPE_CHECKING:
    from cnn_jax.evaluation.classifier import Classifier
    from cnn_jax.explaining.explanation import Choices

Method = Literal["grad-cam", "grad-cam++", "occlusion"]
MOST_IMAGES = 50
"""That one page can show and a browser can open."""


@dataclass(frozen=True)
class Arguments:
    """What to explain, and how."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, folders (with all that is below), or quoted patterns such as 'photos/**/*.jpg'."""
    checkpoint: Path | None = None
    """A run directory (its best checkpoint is used), or one of the folders in its `checkpoints`."""
    layers: tuple[str, ...] | None = None
    """Layers to look at (`python -m cnn_jax.summarize` lists them); None is the last one of each resolution."""
    classes: tuple[str, ...] | None = None
    """Classes to explain; None is the one predicted for each image, of a run also the runner-up."""
    methods: tuple[Method, ...] = ("grad-cam", "grad-cam++", "occlusion")
    """How to find the evidence for a class."""
    channels: int = 16
    """Feature maps of each layer, the most active ones."""
    patch: int | None = None
    """Occlusion: rows and columns of the grey square; None is a seventh of the shorter side."""
    stride: int | None = None
    """Occlusion: pixels between the places of the square; None is half of it."""
    output: Path | None = None
    """The folder to write; None is `explain` in the run directory, or here without a run."""
    model: PretrainedConfig = field(default_factory=PretrainedConfig)

    def __post_init__(self) -> None:
        if not self.paths:
            raise ConfigError("which images? Give files, folders or patterns")
        for name in ("layers", "classes", "methods"):
            require(getattr(self, name) != (), f"--{name}", (), "at least one")
        for name in ("channels", "patch", "stride"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name}", value, "at least 1")
        inference.check_one(self.checkpoint, self.model)


def main(argv: Sequence[str]) -> int:
    """Parse the command line, explain each image, write the pictures and the page; returns the exit code."""
    arguments = command_line.parse(Arguments, argv, command="explain", description=__doc__)
    from cnn_jax.data.paths import expand  # JAX and TensorFlow load only once the flags are right
    from cnn_jax.explaining.explanation import Explainer, PictureFolder
    from cnn_jax.training.run.logs import Reporter

    paths, reporter = expand(arguments.paths), Reporter()
    if len(paths) > MOST_IMAGES:
        raise ConfigError(f"{len(paths)} images do not fit on a page: name {MOST_IMAGES} at most")
    classifier = inference.open_classifier(arguments.checkpoint, arguments.model, reporter.line)
    choices = choose(arguments, classifier)
    folder = _folder(arguments)
    explainer = Explainer(classifier, choices, PictureFolder(folder))
    with reporter.bar("explain", len(paths), "images") as bar, writing(f"--output={folder}"):
        page = explainer.write_page(paths, _title(arguments), lambda: bar.advance(1))
    reporter.line(f"written    {page}")
    if explainer.failed:
        print(f"{len(explainer.failed)} of {len(paths)} images could not be read", file=sys.stderr)
    return EXIT_FAILED if len(explainer.failed) == len(paths) else 0


def choose(arguments: Arguments, classifier: "Classifier") -> "Choices":
    """The flags with what was left open filled in from the network.

    Raises:
        ConfigError: a layer or class that the network does not have (with the near names), or a patch too large.
    """
    from cnn_jax.explaining import chain_walk, saliency
    from cnn_jax.explaining.explanation import Choices

    model = classifier.model
    layers = arguments.layers or chain_walk.selection(model)
    classes = None if arguments.classes is None else [_class_index(name, classifier) for name in arguments.classes]
    least = min(sides(model.image_size))
    patch = arguments.patch or max(least // 7, 1)
    require(patch <= least, "--patch", patch, f"at most {least}, the shorter side of the images")
    return Choices(
        layers=[saliency.check_layer(model, name, "--layers") for name in dict.fromkeys(layers)],
        methods=arguments.methods,
        classes=classes,
        likely=1 if arguments.checkpoint is None else min(2, len(classifier.classes)),
        channels=arguments.channels,
        patch=patch,
        stride=arguments.stride or max(patch // 2, 1),
    )


def _class_index(name: str, classifier: "Classifier") -> int:
    if name not in classifier.classes:
        raise ConfigError(f"--classes: there is no class {name!r}; near names: {near(name, classifier.classes)}")
    return classifier.classes.index(name)


def _folder(arguments: Arguments) -> Path:
    """The folder to write into, made if it is not there."""
    from cnn_jax.training.run import run_directory

    folder = arguments.output
    if folder is None:
        given = arguments.checkpoint
        folder = Path("explain") if given is None or given.is_file() else run_directory.directory(given) / "explain"
    with writing(f"--output={folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _title(arguments: Arguments) -> str:
    if arguments.checkpoint is not None:
        return f"What {arguments.checkpoint.resolve().name} sees"
    model = arguments.model
    return f"What {Path(model.weights).name if model.name == 'keras' else model.name} sees"


if __name__ == "__main__":
    command_line.run(main)
