"""Which network looks at images: a run, an exported file, or a pretrained network as it is. Shared by commands."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_jax.config.image_size import in_pixels
from cnn_jax.errors import ConfigError, FetchError, WeightsError
from cnn_jax.weights.options import PretrainedConfig

if TYPE_CHECKING:
    from cnn_jax.evaluation.classifier import Classifier
    from cnn_jax.weights.pretrained import Pretrained


def check_one(checkpoint: Path | None, model: PretrainedConfig) -> None:
    """ConfigError where the flags name both a run and a pretrained network."""
    if checkpoint is not None and model != PretrainedConfig():
        raise ConfigError(
            "--checkpoint names a run or an exported file, --model.… a pretrained network: give one of them"
        )


def open_classifier(
    checkpoint: Path | None,
    model: PretrainedConfig,
    say: Callable[[str], None],
    threshold: float = 0.0,
    other: float | None = None,
) -> "Classifier":
    """The run, or the pretrained network, that the flags name; what it is goes to `say`.

    Args:
        threshold: see `cnn_jax.load`.
        other: the same, of a run alone.

    Raises:
        UserError: a run, checkpoint or weights file that cannot be used.
    """
    if checkpoint is not None:
        return load(checkpoint, say, threshold, other)
    return open_file(model, say)[1].doubting(threshold)


def load(
    path: Path,
    say: Callable[[str], None] = lambda line: None,
    threshold: float = 0.0,
    other: float | None = None,
) -> "Classifier":
    """A run, one of its checkpoints, or an exported file as a classifier; what it is goes to `say`.

    Args:
        threshold: see `cnn_jax.load`.
        other: the same, of a run alone.

    Raises:
        UserError: it is none of them, or cannot be used.
    """
    from cnn_jax.exporting import formats, opening

    is_keras = path.suffix in formats.KERAS_SUFFIXES and not path.is_dir()
    if other is not None and (is_keras or formats.is_exported(path)):
        raise ConfigError(f"--other: {path} does not know its training images: give the run")
    if formats.is_exported(path):
        classifier = opening.open_classifier(path)
        say(f"model      {path}, {in_pixels(classifier.resize.size)}; {len(classifier.classes)} classes")
        return classifier.doubting(threshold)
    if is_keras:
        keras = open_file(PretrainedConfig(name="keras", weights=str(path)), say)[1]
        return opening.as_described(path, keras).doubting(threshold)
    from cnn_jax.training import trained_run

    run = trained_run.load(path)
    say(f"model      {run.config.model.name} of {run.directory}, step {run.step}; {len(run.classes)} classes")
    return run.classifier(threshold, other)


def open_file(model: PretrainedConfig, say: Callable[[str], None]) -> "tuple[Pretrained, Classifier]":
    """The pretrained network that the flags name, and it as a classifier; what it is goes to `say`.

    Raises:
        UserError: a weights file that cannot be used.
    """
    from cnn_jax.data.preprocess import Resize
    from cnn_jax.evaluation.classifier import Classifier
    from cnn_jax.evaluation.network import LayeredNetwork
    from cnn_jax.weights import pretrained

    loaded = pretrained.load(model, need_top=True)
    say(f"model      {loaded.config.name}, {in_pixels(loaded.config.image_size)}; weights {loaded.path.name}")
    for note in loaded.notes:
        say(f"           {note}")
    names = loaded.classes or _names(loaded.model.classes)
    resize = Resize(loaded.model.image_size, model.resize)
    return loaded, Classifier(LayeredNetwork(loaded.model, loaded.variables), names, resize)


def _names(count: int) -> tuple[str, ...]:
    """Of so many classes that nobody has named: ImageNet's, or numbers."""
    from cnn_jax.models.model import IMAGENET_CLASSES

    if count == IMAGENET_CLASSES:
        return imagenet_names()
    print(
        "names      numbers stand for the classes: say --model.classes, or put labels.txt beside the file",
        file=sys.stderr,
    )
    return tuple(f"class {i}" for i in range(count))


def imagenet_names() -> tuple[str, ...]:
    """The names of ImageNet's classes, or numbers where the names are out of reach; stderr says how to get them."""
    from cnn_jax.models.model import IMAGENET_CLASSES
    from cnn_jax.weights.imagenet_classes import HOW_TO_GET, class_names

    try:
        return class_names()
    except (FetchError, WeightsError):
        print(f"names      numbers stand for the classes: {HOW_TO_GET}", file=sys.stderr)
        return tuple(f"class {i}" for i in range(IMAGENET_CLASSES))
