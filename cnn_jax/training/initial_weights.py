"""The variables that a run begins with: random ones, with pretrained weights in their places."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from cnn_jax.config import Config
from cnn_jax.data.sources import check_data_within_reach
from cnn_jax.errors import FetchError
from cnn_jax.models import quantization
from cnn_jax.models.chain import Variables, depthwise_layers
from cnn_jax.models.keras_graph import network as keras_network
from cnn_jax.models.model import Model
from cnn_jax.training import trained_run
from cnn_jax.weights import class_names, keras_arrays, locate, rescaling, transfer
from cnn_jax.weights.readers import keras_h5
from cnn_jax.weights.transfer import Transfer


def locate_weights(config: Config) -> Path | None:
    """The weights file, or the run; where it cannot be fetched, the error names data that cannot be fetched as well."""
    try:
        return locate.locate(config.model)
    except FetchError as error:
        try:
            check_data_within_reach(config.data)
        except FetchError as other:
            raise FetchError(*error.args, *other.args) from error
        raise


def initial_variables(
    config: Config, model: Model, source: Path | None, classes: tuple[str, ...], keras_layers: str | None
) -> tuple[Variables, Transfer | None, tuple[str, ...]]:
    """Random variables by the seed, with the pretrained weights in their places; what became of those; and notes.

    `source` is a weights file or a run directory. A head is taken over where it tells the same classes apart.
    """
    if source is None:
        return model.init(config.seed), None, ()
    same_classes, other_inputs, classifier = True, None, None  # as far as a file can tell
    replaced = model.replaced_layers
    notes: tuple[str, ...] = ()
    if source.is_dir():
        run = trained_run.load(source)
        loaded = jax.tree.map(np.asarray, quantization.without_ranges(run.variables))
        same_classes, replaced = run.classes == classes, (*replaced, *run.model.new_layers)
    elif keras_layers is not None:
        network = keras_network.read(keras_layers, config.model.image_size)
        classifier = network.classifier
        names, where = class_names.find(source, network.classes, None) if network.classes else (None, "")
        same_classes = names in (None, classes)
        loaded = keras_arrays.read(source, network.headed(config.model, len(classes)))
        notes = network.notes if network.scaling is None else (f"scales images by {network.scaling}", *network.notes)
        if not same_classes:
            notes += (f"its classes are {', '.join((names or ())[:10])} ({where}): so its classifier is not taken",)
    else:
        loaded = keras_h5.read(source)
        other_inputs = rescaling.difference(source, model.normalisation)
    merged, report = transfer.merge(
        model.shapes,
        loaded,
        new_layers=model.new_layers,
        replaced_layers=replaced,
        depthwise_layers=() if keras_layers else depthwise_layers(model.layers),  # changed as they were read
        source=str(source),
        same_classes=same_classes,
    )
    taken = report.classifier and (classifier or report.classifier)
    return model.init(config.seed, merged), replace(report, other_inputs=other_inputs, classifier=taken), notes
