"""What network a file's arrays are of: by the names of layers and the shapes of their kernels; nothing is traced."""

import math
from collections.abc import Collection, Iterator
from dataclasses import replace

from cnn_jax.config import ModelConfig, ModelName
from cnn_jax.models.architectures.registry import ARCHITECTURES
from cnn_jax.models.architectures.vgg import FC_WIDTH, WIDTHS
from cnn_jax.models.layers import Conv, Layer
from cnn_jax.weights.readers.leaves import Leaves

ALPHAS = (1.0, 0.25, 0.35, 0.5, 0.75, 1.3, 1.4)
"""Widths of published files."""

NAMES: dict[ModelName, str] = {
    "vgg19": "VGG19",
    "vgg16": "VGG16",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
}
"""Architectures whose layers have Keras' names; one that has the layers of another, and more, comes before it."""

OTHERS = (
    ("pool2_conv", "DenseNet121"),
    ("conv2_block1_preact_bn", "ResNet50V2"),
    ("conv2_block1_1_conv", "ResNet50"),
    ("block1a_dwconv", "EfficientNetB0"),
    ("block1a_project_conv", "EfficientNetV2B0"),
    ("block2_sepconv1", "Xception"),
    ("conv_7b", "InceptionResNetV2"),
    ("conv2d_93", "InceptionV3"),
    ("stem_conv1", "NASNetMobile"),
    ("expanded_conv_project", "MobileNetV3Small"),
    ("stage_0_block_0_depthwise_conv", "ConvNeXtTiny"),
)
"""Layers that one family of Keras Applications has, and its first network; the first that fits counts."""

UNKNOWN = (
    "VGG and MobileNet have no such layer. A whole model of another kind, saved by model.save, goes in by "
    "--exp=keras_ft; Keras' own by name: --model.name=keras --model.weights=keras:NAME"
)
"""What helps with layers that nothing is known of."""


def recognised(leaves: Leaves, as_it_is: bool = False) -> str:
    """A sentence that says what the arrays are of, with the flags for it; empty where that is not known.

    Args:
        as_it_is: for a command that runs a pretrained network as it is, where no flag chooses what follows its body.
    """
    params = leaves["params"]
    for name, called in NAMES.items():
        alpha = next(fitting_alphas(name, leaves), None)
        if alpha is not None:
            return _described(name, called, alpha, leaves, as_it_is)
    return of_keras(params) or _own_network(leaves, as_it_is)


def of_keras(layers: Collection[str]) -> str:
    """The same sentence for the networks of Keras Applications that have no architecture here, by names of layers."""
    for layer, called in OTHERS:
        if any(found.replace("/", "_").endswith(layer) for found in layers):
            return (
                f"It has the layers of {called} of Keras Applications, or of one of its family: "
                f"--model.name=keras --model.weights=keras:{called}, or the path of a whole model, saved by model.save"
            )
    return ""


def fitting_alphas(name: ModelName, leaves: Leaves) -> Iterator[float]:
    """The widths at which every convolution of the architecture has as many filters as the one of that name."""
    for alpha in ALPHAS if name.startswith("mobilenet") else (1.0,):
        layers = ARCHITECTURES[name].body(replace(ModelConfig(), alpha=alpha))
        if all(_filters(leaves, layer) == layer.features for layer in layers if isinstance(layer, Conv)):
            yield alpha


def _filters(leaves: Leaves, layer: Layer) -> int | None:
    kernel = leaves["params"].get(str(layer.name), {}).get("kernel")
    return None if kernel is None or not kernel.ndim else kernel.shape[-1]


def _described(name: ModelName, called: str, alpha: float, leaves: Leaves, as_it_is: bool) -> str:
    """The architecture, its width and what follows its feature maps."""
    flags, width = [f"--model.name={name}"], ""
    if name.startswith("mobilenet"):
        flags.append(f"--model.alpha={alpha:g}")
        width = f" of width {alpha:g}"
    body = {str(layer.name) for layer in ARCHITECTURES[name].body(replace(ModelConfig(), alpha=alpha))}
    heads = [layer for layer in leaves["params"] if layer not in body]
    if name.startswith("vgg"):
        flags += [flag for flag in _vgg_flags(leaves, heads) if not (as_it_is and flag.startswith("--model.top="))]
    ending = f"with a classifier of {_classes(leaves, heads)} classes" if heads else "without its top"
    return f"It is {called}{width}, {ending}: {' '.join(flags)}"


def _vgg_flags(leaves: Leaves, heads: Collection[str]) -> list[str]:
    """With `fc1`, the size of images that its kernel is for, which see each of the 5 poolings halve them."""
    kernel = leaves["params"]["fc1"].get("kernel") if "fc1" in heads else None
    if kernel is None or kernel.ndim != 2 or kernel.shape[1] != FC_WIDTH:
        return ["--model.top=pool"]
    side = math.isqrt(kernel.shape[0] // WIDTHS[-1])
    return ["--model.top=fc", f"--model.image_size={side * 2 ** len(WIDTHS)}"]


def _classes(leaves: Leaves, heads: Collection[str]) -> str:
    kernels = [leaves["params"][layer].get("kernel") for layer in heads]
    sizes = [kernel.shape[-1] for kernel in kernels if kernel is not None and kernel.ndim]
    return f"{sizes[-1]:,}" if sizes else "unknown"


def _own_network(leaves: Leaves, as_it_is: bool) -> str:
    """A `simple_cnn` of this package, whose convolutions are numbered."""
    params, kernels = leaves["params"], list[tuple[int, ...]]()
    while "kernel" in params.get(f"conv{len(kernels) + 1}", {}):
        kernels.append(params[f"conv{len(kernels) + 1}"]["kernel"].shape)
    others = [layer for layer in params if not layer.startswith(("conv", "bn", "dense", "head"))]
    if not kernels or others or any(len(shape) != 4 for shape in kernels):
        return ""
    filters = " ".join(str(shape[-1]) for shape in kernels)
    flags = [f"--model.filters {filters}", f"--model.kernel_size={kernels[0][0]}"]
    flags += ["--model.batch_norm=True"] if "bn1" in params else []
    flags += [f"--model.channels={kernels[0][2]}"] if kernels[0][2] == 1 else []
    where = ", for training alone" if as_it_is else ""
    return f"It is a simple_cnn of {len(kernels)} convolutions{where}: --model.name=simple_cnn {' '.join(flags)}"
