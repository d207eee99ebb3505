"""Print the network of an experiment as a table: what each layer puts out, holds, costs and sees.

    python -m cnn_jax.summarize --exp=mobilenet_ft --train.freeze_until=conv_pw_10

Reads no image and no weights: shapes alone.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from cnn_jax.cli import command_line
from cnn_jax.config import Config, DataConfig
from cnn_jax.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cnn_jax.models.summary import Summary

ASSUMED_CLASSES = 2
"""Where nothing says how many there are."""


@dataclass(frozen=True)
class Arguments:
    """Flags of this command, then the fields of the configuration."""

    exp: str
    """Name of an experiment, or path of a .py file that defines `config`."""
    classes: int | None = None
    """Number of classes; None asks `data.classes`, then the data set where it is at hand, and else assumes 2."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON in place of the table."""
    config: Annotated[Config, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = field(default_factory=Config)

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 1:
            raise ConfigError(f"--classes={self.classes} is not possible: it must be at least 1")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, walk along the chain, print the table or the JSON; returns the exit code."""
    arguments = command_line.parse_with_experiment(Arguments, argv, command="summarize", description=__doc__)
    config = arguments.config
    known = arguments.classes or known_classes(config.data)
    summary = summarise_config(config, known or ASSUMED_CLASSES)
    if arguments.json:
        print(json.dumps(as_json(summary, config), indent=2))
        return 0
    from cnn_jax.models.summary import describe

    print("\n".join(describe(summary, config.train.freeze_until)))
    if known is None:
        assumed = f"{ASSUMED_CLASSES} assumed, for {config.data.dataset} is not at hand"
        print(f"classes                   {assumed}: say --classes=N")
    return 0


def known_classes(data: DataConfig) -> int | None:
    """The number of classes, where that takes neither a network nor the preparation of a data set."""
    if data.classes is not None:
        return len(data.classes)
    if data.dataset.startswith("tfds:"):
        return None
    from cnn_jax.data.sources import open_dataset

    try:
        return len(open_dataset(data).classes)
    except DataError:  # a folder that is elsewhere
        return None


def summarise_config(config: Config, classes: int) -> "Summary":
    """The summary of the model that `config` trains, for so many classes."""
    from cnn_jax.models.building import build
    from cnn_jax.models.summary import summarise
    from cnn_jax.training.freezing import Freezing
    from cnn_jax.weights import keras_description

    model = build(config.model, classes, config.train.precision, keras_description.of(config.model))
    freezing = Freezing.configured(model, config.train)
    return summarise(model, lambda params: freezing.split(params)[0], config.data.batch_size)


def as_json(summary: "Summary", config: Config) -> dict[str, Any]:
    """Totals and layers; `parameters` is the sum of `trainable`, `frozen` and `batch_statistics`."""
    counted = ("parameters", "trainable", "frozen", "batch_statistics", "macs")
    layers = [
        {**asdict(layer), "parameters": layer.parameters, "state": layer.state or None} for layer in summary.layers
    ]
    return {
        "model": config.model.name,
        "image_size": summary.image_size,
        "batch_size": summary.batch_size,
        "freeze_until": config.train.freeze_until,
        "first_trainable": summary.first_trainable,
        **{name: summary.total(name) for name in counted},
        "activation_bytes": summary.activation_bytes,
        "kept_activation_bytes": summary.kept_bytes,
        "layers": layers,
    }


if __name__ == "__main__":
    command_line.run(main)
