"""The architectures by name: the parts of each as functions of the configuration."""

from collections.abc import Callable
from dataclasses import dataclass

from cnn_jax.config import ModelConfig, ModelName
from cnn_jax.models.architectures import mobilenet, mobilenet_v2, simple_cnn, vgg
from cnn_jax.models.head import vector
from cnn_jax.models.layers import Flatten, Layer
from cnn_jax.models.normalisation import Normalisation

Layers = tuple[Layer, ...]


@dataclass(frozen=True)
class Architecture:
    """What the models of one name have in common."""

    body: Callable[[ModelConfig], Layers]
    """From normalised images to feature maps."""
    normalisation: Normalisation
    neck: Callable[[ModelConfig], Layers] = vector
    """From feature maps to the features of the new head, float[b, c]."""
    top: Callable[[int], Layers] | None = None
    """From feature maps to the logits of so many classes, as pretrained; None: there are no pretrained weights."""


def _vgg_neck(config: ModelConfig) -> Layers:
    return vgg.fully_connected() if config.top == "fc" else vector(config)


ARCHITECTURES: dict[ModelName, Architecture] = {
    "simple_cnn": Architecture(simple_cnn.body, "tf", neck=lambda config: (Flatten(name="flatten"),)),
    "vgg16": Architecture(lambda config: vgg.body(vgg.VGG16_DEPTHS), "caffe", neck=_vgg_neck, top=vgg.top),
    "vgg19": Architecture(lambda config: vgg.body(vgg.VGG19_DEPTHS), "caffe", neck=_vgg_neck, top=vgg.top),
    "mobilenet": Architecture(lambda config: mobilenet.body(config.alpha), "tf", top=mobilenet.top),
    "mobilenet_v2": Architecture(lambda config: mobilenet_v2.body(config.alpha), "tf", top=mobilenet_v2.top),
}
