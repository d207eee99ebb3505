"""A small network of one's own: convolution, ReLU, pooling, repeated; then flatten and one dense layer."""

from collections.abc import Sequence

from cnn_jax.models.layers import Activation, Conv, Flatten, Layer, MaxPool


def body(
    filters: Sequence[int], kernel_size: int, strides: int, padding: str, pool_size: int, pool_strides: int
) -> tuple[Layer, ...]:
    """A convolution, a ReLU and a max pooling for each of `filters`, then the features as a vector."""
    layers: list[Layer] = []
    for number, features in enumerate(filters, start=1):
        layers += [
            Conv(
                features,
                (kernel_size, kernel_size),
                strides=(strides, strides),
                padding=padding.upper(),
                name=f"conv{number}",
            ),
            Activation("relu", name=f"relu{number}"),
            MaxPool((pool_size, pool_size), strides=(pool_strides, pool_strides), name=f"pool{number}"),
        ]
    return (*layers, Flatten(name="flatten"))
