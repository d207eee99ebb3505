"""An exported file, or a folder of SavedModel, as a classifier: what `cnn_jax.load` gives for a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cnn_jax.config.image_size import in_pixels
from cnn_jax.data.preprocess import Resize
from cnn_jax.errors import WeightsError
from cnn_jax.evaluation.classifier import Classifier
from cnn_jax.exporting import record
from cnn_jax.exporting.description import Description
from cnn_jax.exporting.description import read as read_description
from cnn_jax.io.writing import is_remote
from cnn_jax.weights import class_names


def open_classifier(path: Path) -> Classifier:
    """The network in the file, with the classes and the resizing that the file, or export.json beside it, says.

    Where neither says anything, the names of the classes are those of a list beside it (labels.txt), and images are
    squashed.

    Raises:
        WeightsError: it cannot be read or run, or is no classifier of images of 0 to 255.
    """
    if is_remote(path):
        raise WeightsError(f"{path} is not on this machine: fetch it first, with gcloud storage cp {path} .")
    try:
        network, found = _opened(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    found = found if found is not None else record.description_of(path)
    description = _without_description(path, network) if found is None else read_description(found, path)
    if len(description.classes) != network.classes or description.resize.size != network.image_size:
        said = f"{len(description.classes)} and {in_pixels(description.resize.size)}"
        raise WeightsError(
            f"{path} tells {network.classes} classes apart on images of {in_pixels(network.image_size)}; its "
            f"description says {said}: it is of another file"
        )
    return Classifier(network, description.classes, description.resize, description.background)


def as_described(path: Path, classifier: Classifier) -> Classifier:
    """The classifier of a Keras file with what export.json beside the file says of it, where there is such a thing."""
    said = record.description_of(path)
    if said is None:
        return classifier
    found = read_description(said, path)
    if len(found.classes) != len(classifier.classes) or found.resize.size != classifier.resize.size:
        raise WeightsError(f"{path} is another file than {path.with_name(record.FILE)} describes: move it elsewhere")
    return replace(classifier, classes=found.classes, resize=found.resize, background=found.background)


def _opened(path: Path) -> tuple[Any, Any]:
    """The network, and what the file itself says of it."""
    if path.is_dir():
        from cnn_jax.exporting import saved_model

        described = path / saved_model.DESCRIPTION
        return saved_model.SavedModelNetwork(path), described.read_text() if described.is_file() else None
    if path.suffix == ".tflite":
        from cnn_jax.exporting import litert

        return litert.LiteRTNetwork(path), litert.description_in(path)
    if path.suffix == ".onnx":
        from cnn_jax.exporting import onnx

        network = onnx.OnnxNetwork(path)
        return network, network.description
    from cnn_jax.exporting import stablehlo

    return stablehlo.StableHloNetwork(path), None


def _without_description(path: Path, network: Any) -> Description:
    names, _ = class_names.find(path, network.classes, None)
    names = names or tuple(f"class {number}" for number in range(network.classes))
    return Description(path.stem, names, Resize(network.image_size))
