"""A model of this package from the description of a Keras file."""

from typing import get_args

from cnn_jax.config import ModelConfig
from cnn_jax.config.model import KERAS_PREFIX
from cnn_jax.errors import ConfigError
from cnn_jax.models.keras_graph.network import Network, read
from cnn_jax.models.model import Model, Precision
from cnn_jax.models.normalisation import Normalisation

USUAL = (
    "tf (-1 to 1) for Teachable Machine, with --data.resize=crop, and for Keras' MobileNet, MobileNetV2, Xception, "
    "InceptionV3, InceptionResNetV2, NASNet and ResNet50V2; caffe (BGR without ImageNet's means) for VGG and ResNet50; "
    "torch for DenseNet; unit (0 to 1) for images that were divided by 255; none for 0 to 255"
)
"""What networks without a scaling of their own take."""

OF_KERAS: tuple[tuple[str, Normalisation], ...] = (
    ("ResNet50V2", "tf"),
    ("ResNet101V2", "tf"),
    ("ResNet152V2", "tf"),
    ("ResNet", "caffe"),
    ("VGG", "caffe"),
    ("DenseNet", "torch"),
    ("MobileNet", "tf"),
    ("Xception", "tf"),
    ("Inception", "tf"),
    ("NASNet", "tf"),
)
"""How names of Keras Applications begin, and the mode of `preprocess_input` in their modules; the others scale images
themselves."""


def build_keras(config: ModelConfig, classes: int, precision: Precision, description: str | None) -> Model:
    """The network of a file for training: a new head in the place of its last dense layer.

    Raises:
        WeightsError: the description cannot be read.
        ConfigError: no description; or it does not fit the configuration.
    """
    if description is None:
        raise ConfigError("model.name=keras is known by its file alone: this needs the file, or a run trained from it")
    network = read(description, config.image_size)
    return as_model(network.headed(config, classes), config, precision)


def as_model(network: Network, config: ModelConfig, precision: Precision = "float32") -> Model:
    """The network, with what is done to its images before."""
    normalisation = _normalisation(network, config)
    return Model(
        network.layers,
        network.image_size,
        normalisation,
        network.new_layers,
        precision=precision,
        channels=network.channels,
        grey=config.channels == 1,
    )


def _normalisation(network: Network, config: ModelConfig) -> Normalisation:
    """What is configured, or what the file itself says: `none` where the network scales its images."""
    wanted, scaling = config.normalisation, network.scaling
    if scaling is None and wanted == "auto":
        wanted = next((mode for start, mode in OF_KERAS if config.weights.startswith(f"{KERAS_PREFIX}{start}")), wanted)
    if scaling is None and wanted == "auto":
        raise ConfigError(
            f"model.normalisation: {config.weights} does not say what values its network takes. What it was trained "
            f"with is: {USUAL}"
        )
    if scaling is not None and wanted not in ("auto", "none"):
        raise ConfigError(
            f"model.normalisation={wanted}: the network scales its images itself, by {scaling}; leave it out"
        )
    if network.channels == 1 and wanted in ("caffe", "torch"):
        raise ConfigError(f"model.normalisation={wanted} is for colour images, and this network takes grey ones")
    return next((mode for mode in get_args(Normalisation) if mode == wanted), "none")
