"""The pretrained files that `model.weights=imagenet` stands for: where they are and what they go with."""

from dataclasses import dataclass

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError

KERAS_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"

MOBILENET_ALPHAS = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}
MOBILENET_SIZES = (128, 160, 192, 224)
MD5 = {"mobilenet_2_5_224_tf_no_top.h5": "f313cee49f5d33dfb06f2b255c4adb64"}
"""Observed hashes; Keras publishes none for MobileNet."""


@dataclass(frozen=True)
class Pretrained:
    """A file of pretrained weights."""

    file: str
    url: str
    md5: str | None
    licence: str

CLASS_INDEX = Pretrained(
    "imagenet_class_index.json",
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "c2c37ea517e94d9795004a39431a14cb",
    "Apache-2.0",
)
"""The names of ImageNet's classes, as Keras publishes them."""


def imagenet(model: ModelConfig) -> Pretrained:
    """The ImageNet weights without the top for the model's architecture, alpha and image size.

    MobileNet was trained at four image sizes; other sizes take the weights of 224, as Keras does.

    Raises:
        ConfigError: there is none; the message says which exist.
    """
    if model.name != "mobilenet":
        raise ConfigError(
            f"model.weights=imagenet: there are no pretrained weights for model.name={model.name}; "
            "use model.weights=none or model.name=mobilenet"
        )
    if model.alpha not in MOBILENET_ALPHAS:
        raise ConfigError(
            f"model.weights=imagenet: there are no weights for model.alpha={model.alpha}; "
            f"there are: {', '.join(map(str, sorted(MOBILENET_ALPHAS)))}; other widths train from model.weights=none"
        )
    size = model.image_size if model.image_size in MOBILENET_SIZES else 224
    file = f"mobilenet_{MOBILENET_ALPHAS[model.alpha]}_{size}_tf_no_top.h5"
    return Pretrained(file, f"{KERAS_APPLICATIONS}/mobilenet/{file}", MD5.get(file), "Apache-2.0")
