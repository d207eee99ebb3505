"""The flags of the commands that run a pretrained network as it is."""

from dataclasses import dataclass
from typing import Literal

from cnn_jax.config import ModelConfig, ModelName
from cnn_jax.config.image_size import ImageSize
from cnn_jax.errors import ConfigError


@dataclass(frozen=True)
class PretrainedConfig:
    """A pretrained network, as it is."""

    name: ModelName = "mobilenet"
    """The architecture; `keras` is the one that the file in `weights` describes."""
    weights: str = "imagenet"
    """`imagenet`, `shapes` (MobileNet 0.25, comes with the package), the path of a weights file in Keras' layout,
    or, for name=keras, a network of Keras Applications, `keras:EfficientNetB0`."""
    classes: tuple[str, ...] | None = None
    """keras: the names of its classes, in their order; None looks for a list beside the file (labels.txt)."""
    normalisation: Literal["auto", "tf", "caffe", "torch", "unit", "none"] = "auto"
    """keras: what its network takes, as --model.normalisation of `train`."""
    resize: Literal["squash", "crop", "pad"] = "squash"
    """How an image of other proportions becomes as large as the network's, as --data.resize of `train`; Teachable
    Machine crops."""
    alpha: float | None = None
    """MobileNet: width multiplier; None is read off the file, 1 for `imagenet`."""
    image_size: ImageSize | None = None
    """Rows and columns of the images, 224 or 96x128; None is read off the file's name, else 224. keras: as the file
    says."""

    def __post_init__(self) -> None:
        self.model_config()
        if self.weights == "none":
            raise ConfigError("model.weights=none is not possible: give `imagenet` or the path of a weights file")
        if self.classes is not None and self.name != "keras":
            raise ConfigError("model.classes is for model.name=keras: the others tell ImageNet's classes apart")

    def model_config(self) -> ModelConfig:
        """The same as a configuration of a model; what is None has its default."""
        given = {"alpha": self.alpha, "image_size": self.image_size, "normalisation": self.normalisation}
        known = {name: value for name, value in given.items() if value is not None}
        return ModelConfig(name=self.name, weights=self.weights, **known)  # type: ignore[arg-type]
