"""A small network of one's own: convolution, ReLU and pooling, repeated."""

from cnn_jax.config import ModelConfig
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer, MaxPool


def body(config: ModelConfig) -> tuple[Layer, ...]:
    """A convolution, a ReLU and a max pooling for each of `config.filters`: float[b, h, w, 3] to [b, oh, ow, c]."""
    layers: list[Layer] = []
    for number, features in enumerate(config.filters, start=1):
        conv = Conv(
            features,
            (config.kernel_size, config.kernel_size),
            strides=(config.strides, config.strides),
            padding=config.padding.upper(),
            use_bias=not config.batch_norm,
            name=f"conv{number}",
        )
        layers += [
            conv,
            *([BatchNorm(name=f"bn{number}")] if config.batch_norm else []),
            Activation("relu", name=f"relu{number}"),
            MaxPool(
                (config.pool_size, config.pool_size),
                strides=(config.pool_strides, config.pool_strides),
                name=f"pool{number}",
            ),
        ]
    return tuple(layers)
