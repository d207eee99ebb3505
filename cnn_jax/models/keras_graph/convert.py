"""From a node of a description to layers of this package: a table by Keras' class."""

from collections.abc import Callable

from cnn_jax.models.keras_graph import joining, plain, weighted
from cnn_jax.models.keras_graph.converted import Converted
from cnn_jax.models.keras_graph.fields import Fields
from cnn_jax.models.layers import Add, AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from cnn_jax.models.merging import Average, Maximum, Minimum, Multiply, Subtract
from cnn_jax.models.noise import ExampleDropout, GaussianDropout, GaussianNoise, SpatialDropout

TABLE: dict[str, Callable[[Fields], Converted]] = {
    "Conv2D": weighted.convolution,
    "DepthwiseConv2D": weighted.depthwise,
    "SeparableConv2D": weighted.separable,
    "Dense": weighted.dense,
    "BatchNormalization": weighted.batch_norm,
    "SyncBatchNormalization": weighted.batch_norm,
    "LayerNormalization": weighted.layer_norm,
    "Normalization": weighted.normalization,
    "Rescaling": weighted.rescaling,
    "LayerScale": weighted.layer_scale,
    "Activation": plain.activation,
    "Softmax": plain.softmax,
    "ReLU": plain.relu,
    "LeakyReLU": plain.leaky_relu,
    "ELU": plain.elu,
    "PReLU": weighted.prelu,
    "MaxPooling2D": plain.pool(MaxPool),
    "AveragePooling2D": plain.pool(AveragePool),
    "GlobalAveragePooling2D": plain.global_pool(GlobalAveragePool),
    "GlobalMaxPooling2D": plain.global_pool(GlobalMaxPool),
    "ZeroPadding2D": plain.zero_padding,
    "Cropping2D": plain.cropping,
    "UpSampling2D": plain.upsampling,
    "Flatten": plain.flatten,
    "Reshape": plain.reshape,
    "Permute": plain.permute,
    "Dropout": plain.dropout,
    "SpatialDropout2D": plain.noise(SpatialDropout, "rate"),
    "GaussianNoise": plain.noise(GaussianNoise, "stddev"),
    "GaussianDropout": plain.noise(GaussianDropout, "rate"),
    "StochasticDepth": plain.noise(ExampleDropout, "drop_path_rate"),
    "Add": joining.merge(Add),
    "Multiply": joining.merge(Multiply),
    "Subtract": joining.merge(Subtract),
    "Average": joining.merge(Average),
    "Maximum": joining.merge(Maximum),
    "Minimum": joining.merge(Minimum),
    "Concatenate": joining.concatenate,
    "CustomScaleLayer": joining.scaled_add,
    "TrueDivide": joining.operation,
    "Divide": joining.operation,
    "TFOpLambda": joining.operation,
    "Identity": plain.nothing,
    "ActivityRegularization": plain.nothing,
    **dict.fromkeys(
        (
            "RandomBrightness",
            "RandomColorDegeneration",
            "RandomColorJitter",
            "RandomContrast",
            "RandomErasing",
            "RandomFlip",
            "RandomGaussianBlur",
            "RandomGrayscale",
            "RandomHue",
            "RandomInvert",
            "RandomPerspective",
            "RandomPosterization",
            "RandomRotation",
            "RandomSaturation",
            "RandomSharpness",
            "RandomShear",
            "RandomTranslation",
            "RandomZoom",
            "RandAugment",
        ),
        plain.augmentation,
    ),
}
"""Keras' class to what reads it."""


def convert(fields: Fields) -> Converted:
    """The layers of a node.

    Raises:
        WeightsError: a class that is not known, or a field with an impossible value.
    """
    kind = fields.node.kind
    if kind not in TABLE:
        fields.fail(
            "this class is not known here, and what a class of one's own or a Lambda does is code, which is never run. "
            "Build the model from Keras' layers for images and save it again, or drop the layer"
        )
    numbers = len(fields.node.arguments) - len(fields.node.inputs)
    if numbers and kind not in joining.OPERATIONS and kind != "TFOpLambda":
        fields.fail("it is called with a number")
    return TABLE[kind](fields)
