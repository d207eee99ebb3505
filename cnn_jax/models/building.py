"""From a configuration to the model that it describes."""

from cnn_jax.config import ModelConfig
from cnn_jax.config.image_size import as_flag
from cnn_jax.errors import ConfigError
from cnn_jax.models.architectures.registry import ARCHITECTURES
from cnn_jax.models.chain import layer_names
from cnn_jax.models.head import head_layers, with_parameters
from cnn_jax.models.keras_graph.build import build_keras
from cnn_jax.models.model import IMAGENET_CLASSES, Model, Precision


def build(config: ModelConfig, classes: int, precision: Precision = "float32", description: str | None = None) -> Model:
    """The model that `config` describes, with a new head for so many classes.

    Args:
        description: for `model.name=keras`, the layers in Keras' JSON.

    Raises:
        ConfigError: the images are too small for the layers.
        WeightsError: the description cannot be read.
    """
    if config.name == "keras":
        return build_keras(config, classes, precision, description)
    architecture = ARCHITECTURES[config.name]
    features = (*architecture.body(config), *architecture.neck(config))
    head = head_layers(config, classes, layer_names(features))
    layers = (*features, *head)
    pretrained = architecture.top(IMAGENET_CLASSES) if architecture.top else ()
    replaced = tuple(name for name in layer_names(pretrained) if name not in layer_names(layers))
    new = with_parameters(head)
    channels = config.channels if architecture.top is None else 3
    model = Model(
        layers,
        config.image_size,
        architecture.normalisation,
        new,
        replaced,
        precision,
        channels=channels,
        grey=config.channels == 1,
    )
    return _checked(model, config)


def build_imagenet(config: ModelConfig, precision: Precision = "float32") -> Model:
    """The network exactly as pretrained, with Keras' own classifier: logits of ImageNet's 1000 classes.

    No layer of it is new or replaced. What `config` says of the head does not matter.

    Raises:
        ConfigError: the architecture has no pretrained weights, or the images are too small for the layers.
    """
    architecture = ARCHITECTURES[config.name]
    if architecture.top is None:
        names = ", ".join(name for name, other in ARCHITECTURES.items() if other.top)
        raise ConfigError(f"model.name={config.name} has no ImageNet classifier; those that have one: {names}")
    layers = (*architecture.body(config), *architecture.top(IMAGENET_CLASSES))
    model = Model(layers, config.image_size, architecture.normalisation, new_layers=(), precision=precision)
    return _checked(model, config)


def _checked(model: Model, config: ModelConfig) -> Model:
    """The model, if every layer leaves something of the image."""
    size = as_flag(config.image_size)
    try:
        vanished = next((name for name, output in model.output_shapes.items() if 0 in output.shape), None)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"model.image_size={size} is too small for {config.name}: {error}") from error
    if vanished is not None:
        raise ConfigError(
            f"model.image_size={size} is too small for {config.name}: nothing is left of the image after the layer "
            f"{vanished}; use larger images, or fewer or smaller layers"
        )
    return model
