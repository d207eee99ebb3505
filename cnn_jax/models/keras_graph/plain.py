"""Keras' layers without arrays that take one input."""

from collections.abc import Callable

from cnn_jax.models.keras_graph.converted import Converted
from cnn_jax.models.keras_graph.fields import Fields
from cnn_jax.models.layers import Activation, Dropout, Flatten, GlobalPool, Pool, ZeroPad
from cnn_jax.models.noise import ExampleDropout, GaussianNoise, Noise, SpatialDropout
from cnn_jax.models.scaling import BoundedRelu, Elu
from cnn_jax.models.shaping import Crop, Permute, Reshape, Upsample


def activation(fields: Fields) -> Converted:
    """`Activation`, which is nothing where it is linear."""
    kind = fields.activation()
    return Converted((Activation(kind, name=fields.node.name),) if kind else ())


def softmax(fields: Fields) -> Converted:
    """`Softmax`."""
    axis = fields.last_axis()
    return Converted((Activation("softmax", name=fields.node.name),), axis=axis)


def relu(fields: Fields) -> Converted:
    """`ReLU`, with or without bounds."""
    highest = fields.value("max_value", None)
    highest = None if highest is None else fields.number("max_value", 0, 0)
    slope, threshold = fields.number("negative_slope", 0), fields.number("threshold", 0, 0)
    name = fields.node.name
    if not slope and not threshold and highest in (None, 6.0):
        return Converted((Activation("relu" if highest is None else "relu6", name=name),))
    return Converted((BoundedRelu(highest, slope, threshold, name=name),))


def leaky_relu(fields: Fields) -> Converted:
    """`LeakyReLU`: its slope was `alpha` in Keras 2."""
    slope = fields.number("negative_slope", fields.number("alpha", 0.3))
    return Converted((BoundedRelu(slope=slope, name=fields.node.name),))


def elu(fields: Fields) -> Converted:
    """`ELU`."""
    return Converted((Elu(fields.number("alpha", 1.0), name=fields.node.name),))


def pool(kind: type[Pool]) -> Callable[[Fields], Converted]:
    """A pooling of windows; by `kind`."""

    def convert(fields: Fields) -> Converted:
        fields.channels_last()
        size = fields.pair("pool_size", (2, 2))
        return Converted((kind(size, fields.pair("strides", size), fields.padding(), name=fields.node.name),))

    return convert


def global_pool(kind: type[GlobalPool]) -> Callable[[Fields], Converted]:
    """A pooling of all rows and columns; by `kind`."""

    def convert(fields: Fields) -> Converted:
        fields.channels_last()
        return Converted((kind(fields.flag("keepdims", False), name=fields.node.name),))

    return convert


def zero_padding(fields: Fields) -> Converted:
    """`ZeroPadding2D`."""
    fields.channels_last()
    return Converted((ZeroPad(fields.sides("padding"), name=fields.node.name),))


def cropping(fields: Fields) -> Converted:
    """`Cropping2D`."""
    fields.channels_last()
    return Converted((Crop(fields.sides("cropping"), name=fields.node.name),))


def upsampling(fields: Fields) -> Converted:
    """`UpSampling2D`."""
    fields.channels_last()
    how = fields.value("interpolation", "nearest")
    if how not in ("nearest", "bilinear"):
        fields.fail(f"interpolation={str(how)[:40]!r}: nearest and bilinear are known")
    return Converted((Upsample(fields.pair("size", (2, 2)), how == "bilinear", name=fields.node.name),))


def flatten(fields: Fields) -> Converted:
    """`Flatten`."""
    fields.channels_last()
    return Converted((Flatten(name=fields.node.name),))


def reshape(fields: Fields) -> Converted:
    """`Reshape`."""
    return Converted((Reshape(fields.sizes("target_shape", -1), name=fields.node.name),))


def permute(fields: Fields) -> Converted:
    """`Permute`."""
    axes = fields.sizes("dims")
    if sorted(axes) != list(range(1, len(axes) + 1)):
        fields.fail(f"dims={list(axes)} is no order of axes")
    return Converted((Permute(axes, name=fields.node.name),))


def dropout(fields: Fields) -> Converted:
    """`Dropout`, of values, of channels or of whole examples."""
    together = fields.value("noise_shape", None)
    kinds = {"None": Dropout, "[None, 1, 1, 1]": ExampleDropout, "[None, 1, 1, None]": SpatialDropout}
    if str(together) not in kinds:
        fields.fail(f"noise_shape={str(together)[:60]} is not known here")
    return Converted((kinds[str(together)](fields.rate(), name=fields.node.name),))


def noise(kind: type[Noise], rate: str) -> Callable[[Fields], Converted]:
    """A layer that chance decides in training; by `kind`, with its field for the `rate`."""

    def convert(fields: Fields) -> Converted:
        share = fields.number(rate, 0, 0) if kind is GaussianNoise else fields.rate(rate)
        return Converted((kind(share, name=fields.node.name),))

    return convert


def nothing(fields: Fields) -> Converted:
    """A layer that leaves everything as it is."""
    return Converted(())


def augmentation(fields: Fields) -> Converted:
    """A layer that changes images in training: nothing in inference."""
    name, kind = fields.node.name, fields.node.kind
    return Converted((), note=f"{name} ({kind}) changes images in training alone, and is left out: see --augment")
