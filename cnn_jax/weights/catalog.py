"""The pretrained files that names stand for: one record a file. `model.weights=imagenet` are Keras', the rest is ours.

Files and hashes are those of `keras.applications` (Keras publishes hashes for VGG alone), the sizes those that Keras
reports when it downloads. The accuracies, in per cent of ImageNet's validation images, are published: VGG's in the
table of keras.io/api/applications, MobileNet's with the TF-slim checkpoints from which Keras' files were made
(tensorflow/models, research/slim: nets/mobilenet_v1.md and nets/mobilenet/README.md).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cnn_jax.config import ModelConfig, ModelName
from cnn_jax.config.image_size import ImageSize, as_flag
from cnn_jax.errors import ConfigError
from cnn_jax.models.normalisation import Normalisation

KERAS_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"

FALLBACK_SIZE = 224
"""Images of a size that has no file take the weights of this one, as in Keras."""


@dataclass(frozen=True)
class Pretrained:
    """A file of pretrained weights."""

    file: str
    model: ModelName
    alpha: float
    """Width multiplier; 1 for the VGGs."""
    image_size: int
    """Rows and columns of the images that it was trained on."""
    top: bool
    """Whether the file has the classifier of ImageNet's 1000 classes."""
    preprocessing: Normalisation
    licence: str
    top1: float
    """Published share of ImageNet's validation images whose class is the most probable one, in per cent."""
    top5: float
    md5: str | None = None
    size: int | None = None
    """Bytes; None: not known."""

    @property
    def url(self) -> str:
        """Where Keras keeps the file."""
        return f"{KERAS_APPLICATIONS}/{self.model}/{self.file}"


@dataclass(frozen=True)
class Bundled:
    """A file of weights that comes with the package, in Keras' layout and without a classifier."""

    file: str
    """In the folder `bundled` beside this module."""
    model: ModelName
    alpha: float
    image_size: int
    """Rows and columns of the images that it was trained on; others do as well."""
    preprocessing: Normalisation
    licence: str
    sha256: str
    purpose: str
    """What the weights are good for."""
    commands: tuple[str, ...]
    """What made the file."""


BUNDLED = {
    "shapes": Bundled(
        "mobilenet_2_5_64_shapes_no_top.h5",
        "mobilenet",
        0.25,
        64,
        "tf",
        "Apache-2.0",
        "37d9d38f1b668d12e5be9ebbc681097f9fddb7ce1be6d431e1feeb34d625794d",
        "showing how fine-tuning works on simple pictures, without a network (`--exp=quickstart`); it has seen drawn "
        "shapes and nothing else, so photographs want model.weights=imagenet",
        (
            "python -m cnn_jax.train --exp=mobilenet_shapes",
            "python -m cnn_jax.export --checkpoint=runs/mobilenet_shapes --format=keras-h5 --top=False "
            "--output=cnn_jax/weights/bundled/mobilenet_2_5_64_shapes_no_top.h5",
        ),
    )
}
"""By what `model.weights` calls them. `experiments/mobilenet_shapes.py` has their accuracy."""


VGG_ACCURACIES: dict[ModelName, tuple[float, float]] = {"vgg16": (71.3, 90.1), "vgg19": (71.3, 90.0)}
"""(top-1, top-5)."""

MOBILENET_ACCURACIES = {
    (1.0, 224): (70.9, 89.9),
    (1.0, 192): (70.0, 89.2),
    (1.0, 160): (68.0, 87.7),
    (1.0, 128): (65.2, 85.8),
    (0.75, 224): (68.4, 88.2),
    (0.75, 192): (67.2, 87.3),
    (0.75, 160): (65.3, 86.0),
    (0.75, 128): (62.1, 83.9),
    (0.5, 224): (63.3, 84.9),
    (0.5, 192): (61.7, 83.6),
    (0.5, 160): (59.1, 81.9),
    (0.5, 128): (56.3, 79.4),
    (0.25, 224): (49.8, 74.2),
    (0.25, 192): (47.7, 72.3),
    (0.25, 160): (45.5, 70.3),
    (0.25, 128): (41.5, 66.3),
}
"""(alpha, image size): (top-1, top-5)."""

MOBILENET_V2_ACCURACIES = {
    (1.4, 224): (75.0, 92.5),
    (1.3, 224): (74.4, 92.1),
    (1.0, 224): (71.8, 91.0),
    (1.0, 192): (70.7, 90.1),
    (1.0, 160): (68.8, 89.0),
    (1.0, 128): (65.3, 86.9),
    (1.0, 96): (60.3, 83.2),
    (0.75, 224): (69.8, 89.6),
    (0.75, 192): (68.7, 88.9),
    (0.75, 160): (66.4, 87.3),
    (0.75, 128): (63.2, 85.3),
    (0.75, 96): (58.8, 81.6),
    (0.5, 224): (65.4, 86.4),
    (0.5, 192): (63.9, 85.4),
    (0.5, 160): (61.0, 83.2),
    (0.5, 128): (57.7, 80.8),
    (0.5, 96): (51.2, 75.8),
    (0.35, 224): (60.3, 82.9),
    (0.35, 192): (58.2, 81.2),
    (0.35, 160): (55.7, 79.1),
    (0.35, 128): (50.8, 75.0),
    (0.35, 96): (45.5, 70.4),
}

_WIDTHS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}
"""How MobileNet's files write alpha."""

_MD5 = {
    "vgg16_weights_tf_dim_ordering_tf_kernels.h5": "64373286793e3c8b2b4e3219cbf3544b",
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5": "6d6bbae143d832006294945121d1f1fc",
    "vgg19_weights_tf_dim_ordering_tf_kernels.h5": "cbe5617147190e668d6c5d5026f83318",
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5": "253f8cb515780f3b799900260a226db6",
    "mobilenet_2_5_224_tf_no_top.h5": "f313cee49f5d33dfb06f2b255c4adb64",  # observed; Keras publishes none
}

_SIZES = {
    "vgg16_weights_tf_dim_ordering_tf_kernels.h5": 553_467_096,
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5": 58_889_256,
    "vgg19_weights_tf_dim_ordering_tf_kernels.h5": 574_710_816,
    "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5": 80_134_624,
    "mobilenet_1_0_224_tf_no_top.h5": 17_225_924,
    "mobilenet_2_5_224_tf_no_top.h5": 2_108_140,
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5": 14_536_120,
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5": 9_406_464,
}


def _records() -> Iterator[Pretrained]:
    for top in (True, False):
        for model, accuracies in VGG_ACCURACIES.items():
            file = f"{model}_weights_tf_dim_ordering_tf_kernels{'' if top else '_notop'}.h5"
            yield _record(file, model, 1.0, 224, top, "caffe", "CC-BY-4.0", accuracies)
        suffix = "" if top else "_no_top"
        for (alpha, size), accuracies in MOBILENET_ACCURACIES.items():
            file = f"mobilenet_{_WIDTHS[alpha]}_{size}_tf{suffix}.h5"
            yield _record(file, "mobilenet", alpha, size, top, "tf", "Apache-2.0", accuracies)
        for (alpha, size), accuracies in MOBILENET_V2_ACCURACIES.items():
            file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}{suffix}.h5"
            yield _record(file, "mobilenet_v2", alpha, size, top, "tf", "Apache-2.0", accuracies)


def _record(
    file: str,
    model: ModelName,
    alpha: float,
    size: int,
    top: bool,
    preprocessing: Normalisation,
    licence: str,
    accuracies: tuple[float, float],
) -> Pretrained:
    hashes = _MD5.get(file), _SIZES.get(file)
    return Pretrained(file, model, alpha, size, top, preprocessing, licence, *accuracies, *hashes)


CATALOG: tuple[Pretrained, ...] = tuple(_records())


def imagenet(model: ModelConfig, *, top: bool | None = None) -> Pretrained:
    """The ImageNet weights for the model's architecture, alpha, image size and top.

    MobileNets were trained at several image sizes; other sizes take the weights of 224, as Keras does.

    Args:
        top: with ImageNet's classifier; None: as `model.top` needs it, so that of VGG for its `fc1` and `fc2`.

    Raises:
        ConfigError: there is none; the message says which exist.
    """
    records = [record for record in CATALOG if record.model == model.name]
    if not records:
        names = ", ".join(sorted({record.model for record in CATALOG}))
        raise ConfigError(
            f"model.weights=imagenet: there are no pretrained weights for model.name={model.name}; "
            f"use model.weights=none or another model.name: {names}"
        )
    if model.name.startswith("vgg"):
        return _vgg(records, model, model.top == "fc" if top is None else top)
    records = [record for record in records if record.top == bool(top)]
    fitting: dict[ImageSize, Pretrained] = {
        record.image_size: record for record in records if record.alpha == model.alpha
    }
    if not fitting:
        alphas = ", ".join(map(str, sorted({record.alpha for record in records})))
        raise ConfigError(
            f"model.weights=imagenet: there are no weights of {model.name} for model.alpha={model.alpha}; "
            f"there are: {alphas}; other widths train from model.weights=none"
        )
    return fitting.get(model.image_size, fitting[FALLBACK_SIZE])


def _vgg(records: list[Pretrained], model: ModelConfig, top: bool) -> Pretrained:
    if top and model.image_size != FALLBACK_SIZE:
        raise ConfigError(
            f"model.weights=imagenet: {model.name}'s fully connected layers were trained for model.image_size=224, "
            f"not {as_flag(model.image_size)}; use 224, or model.top=pool, whose weights go with any size from 32"
        )
    return next(record for record in records if record.top == top)


def bundled(model: ModelConfig) -> Path:
    """The file that comes with the package for the name `model.weights`.

    Raises:
        ConfigError: it is for another architecture or width.
    """
    record = BUNDLED[model.weights]
    if (model.name, model.alpha) != (record.model, record.alpha):
        raise ConfigError(
            f"model.weights={model.weights} is for model.name={record.model} with model.alpha={record.alpha}, not for "
            f"{model.name} with {model.alpha}. It is good for {record.purpose}"
        )
    return Path(__file__).with_name("bundled") / record.file
