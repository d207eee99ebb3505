"""The flags of the doors that run a pretrained network as it is."""

from dataclasses import dataclass

from cnn_jax.config import ModelConfig, ModelName
from cnn_jax.errors import ConfigError


@dataclass(frozen=True)
class PretrainedConfig:
    """A pretrained network, as it is."""

    name: ModelName = "mobilenet"
    """The architecture."""
    weights: str = "imagenet"
    """`imagenet`, `shapes` (MobileNet 0.25, comes with the package), or the path of a weights file in Keras' layout."""
    alpha: float | None = None
    """MobileNet: width multiplier; None is read off the file, 1 for `imagenet`."""
    image_size: int | None = None
    """Rows and columns of the images; None is read off the file's name, else 224."""

    def __post_init__(self) -> None:
        self.model_config()
        if self.weights == "none":
            raise ConfigError("model.weights=none is not possible: give `imagenet` or the path of a weights file")

    def model_config(self) -> ModelConfig:
        """The same as a configuration of a model; what is None has its default."""
        given = {"alpha": self.alpha, "image_size": self.image_size}
        known = {name: value for name, value in given.items() if value is not None}
        return ModelConfig(name=self.name, weights=self.weights, **known)  # type: ignore[arg-type]
