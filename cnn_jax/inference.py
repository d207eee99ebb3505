"""Which network looks at images: a run of one's own, or a pretrained one as it is. Shared by doors."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_jax.errors import ConfigError, FetchError, WeightsError
from cnn_jax.weights.options import PretrainedConfig

if TYPE_CHECKING:
    from cnn_jax.evaluation.classifier import Classifier
    from cnn_jax.weights.pretrained import Pretrained


def check_one(checkpoint: Path | None, model: PretrainedConfig) -> None:
    """ConfigError where the flags name both a run and a pretrained network."""
    if checkpoint is not None and model != PretrainedConfig():
        raise ConfigError("--checkpoint names a run, --model.… a pretrained network: give one of them")


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
    from cnn_jax.evaluation.classifier import Doubt

    if checkpoint is not None:
        from cnn_jax.training import runs

        run = runs.load(checkpoint)
        say(f"model      {run.config.model.name} of {run.directory}, step {run.step}; {len(run.classes)} classes")
        return run.classifier(threshold, other)
    return replace(open_file(model, say)[1], doubt=Doubt(threshold))


def open_file(model: PretrainedConfig, say: Callable[[str], None]) -> "tuple[Pretrained, Classifier]":
    """The pretrained network that the flags name, and it as a classifier; what it is goes to `say`.

    Raises:
        UserError: a weights file that cannot be used.
    """
    from cnn_jax.data.preprocess import Resize
    from cnn_jax.evaluation.classifier import Classifier
    from cnn_jax.weights import pretrained

    loaded = pretrained.load(model, need_top=True)
    say(f"model      {loaded.config.name}, {loaded.config.image_size} pixels; weights {loaded.path.name}")
    for note in loaded.notes:
        say(f"           {note}")
    names = loaded.classes or _names(loaded.model.classes)
    resize = Resize(loaded.model.image_size, model.resize)
    return loaded, Classifier(loaded.model, loaded.variables, names, resize)


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
