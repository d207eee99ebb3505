"""Where on an image the evidence for a class lies: Grad-CAM, Grad-CAM++ and occlusion."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, UInt8

from cnn_jax.config.validation import require
from cnn_jax.errors import ConfigError
from cnn_jax.models.chain import Variables, layer_index
from cnn_jax.models.layers import Pool
from cnn_jax.models.model import Model
from cnn_jax.models.summary import spatial_layers
from cnn_jax.runtime.compiling import jit

OCCLUDED_BATCH = 32
"""Occluded copies of an image in a step."""
GREY = 128
"""The value of an occluding patch in each channel, halfway between black and white."""
COLOURS = "viridis"
"""Of matplotlib's perceptually uniform colour maps."""
COVER = 0.6
"""How much of the colour goes into an overlay; the rest is the image."""


def default_layer(model: Model) -> str:
    """The last layer with rows and columns that does not pool: its maps mean the most, and are still fine.

    For VGG it is the last convolution, as in the paper of Grad-CAM.
    """
    names = spatial_layers(model)
    pooling = {layer.name for layer in model.layers if isinstance(layer, Pool)}
    return next((name for name in reversed(names) if name not in pooling), names[-1])


def check_layer(model: Model, name: str, field: str = "layer") -> str:
    """`name`, if it is a layer whose output has rows and columns; `field` is the setting that an error names.

    Raises:
        ConfigError: no such layer (with the near names), or one after the pooling.
    """
    layer_index(model.layers, name, field)
    names = spatial_layers(model)
    if name not in names:
        raise ConfigError(
            f"{field}: the output of {name} has no rows and columns; the last layer that has them is {names[-1]}"
        )
    return name


def grad_cam(
    model: Model,
    variables: Variables,
    images: UInt8[np.ndarray, "b h w 3"],
    classes: Int[np.ndarray, " b"],
    layer: str | None = None,
) -> Float32[np.ndarray, "b _ _"]:
    """Grad-CAM (Selvaraju et al., 2017, arXiv:1610.02391): where a layer sees what speaks for a class.

    The channels of the layer are summed, each with the mean derivative of the class's logit by that channel as its
    weight; what is negative is set to zero.

    Args:
        images: as the network takes them.
        classes: the class to explain on each image.
        layer: a layer with rows and columns, inside of a residual block too; None is `default_layer`.

    Returns:
        Maps in the resolution of the layer, at least 0. The maximum of each map is 1; a map without any
        evidence is all zero.

    Raises:
        ConfigError: no such layer (with the near names), or one whose output has no rows and columns.
    """
    name = default_layer(model) if layer is None else layer
    return class_activation_maps(model, variables, images, classes, [name])[name][0]


def grad_cam_plus_plus(
    model: Model,
    variables: Variables,
    images: UInt8[np.ndarray, "b h w 3"],
    classes: Int[np.ndarray, " b"],
    layer: str | None = None,
) -> Float32[np.ndarray, "b _ _"]:
    """Grad-CAM++ (Chattopadhyay et al., 2018, arXiv:1710.11063): several objects of a class weigh alike.

    As `grad_cam`, but the weight of a channel is a sum of its positive derivatives, each with the coefficient of
    equation 19 of the paper for the score exp(logit).
    """
    name = default_layer(model) if layer is None else layer
    return class_activation_maps(model, variables, images, classes, [name])[name][1]


def class_activation_maps(
    model: Model,
    variables: Variables,
    images: UInt8[np.ndarray, "b h w 3"],
    classes: Int[np.ndarray, " b"],
    layers: Sequence[str],
) -> dict[str, tuple[Float32[np.ndarray, "b _ _"], Float32[np.ndarray, "b _ _"]]]:
    """The maps of `grad_cam` and of `grad_cam_plus_plus` at several layers, with one pass through the network."""
    names = tuple(check_layer(model, name) for name in layers)
    maps = _mapping()(variables, images, np.asarray(classes, np.int32), model=model, layers=names)
    return {name: (_scaled(first), _scaled(second)) for name, (first, second) in maps.items()}


def _scaled(maps: Float32[Array, "b h w"]) -> Float32[np.ndarray, "b h w"]:
    values = np.asarray(maps)
    highest = values.max((1, 2), keepdims=True)
    return values / np.where(highest > 0, highest, 1)


@functools.cache
def _mapping() -> Any:
    return jit(_maps, static_argnames=("model", "layers"))


def _maps(
    variables: Variables,
    images: UInt8[Array, "b h w 3"],
    classes: Int32[Array, " b"],
    *,
    model: Model,
    layers: tuple[str, ...],
) -> dict[str, tuple[Float32[Array, "b _ _"], Float32[Array, "b _ _"]]]:
    def scores(
        offsets: dict[str, Float[Array, "b ..."]],
    ) -> tuple[Float32[Array, ""], dict[str, Float[Array, "b ..."]]]:
        """The sum of the images' scores, whose gradient is that of each image's own score."""
        logits, outputs = model.logits_with_offsets(variables, images, offsets)
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum(), outputs

    shapes = {name: model.output_shapes[name] for name in layers}
    zeros = {name: jnp.zeros((len(images), *shape.shape[1:]), shape.dtype) for name, shape in shapes.items()}
    with model.products():
        found = jax.grad(scores, has_aux=True)(zeros)
    gradients, outputs = jax.tree.map(lambda x: x.astype(jnp.float32), found)
    maps = {}
    for name in layers:
        weights = gradients[name].mean((1, 2)), _plus_plus_weights(gradients[name], outputs[name])
        first, second = (jnp.maximum(jnp.einsum("bhwc,bc->bhw", outputs[name], w), 0) for w in weights)
        maps[name] = first, second
    return maps


def _plus_plus_weights(
    gradients: Float32[Array, "b h w c"], activations: Float32[Array, "b h w c"]
) -> Float32[Array, "b c"]:
    """The weights of the channels.

    The coefficient g^2 / (2 g^2 + sum(A) g^3) of the paper is 1 / (2 + sum(A) g), and counts where g > 0. exp(logit),
    a factor of all weights, goes out with the scaling. The paper has rectified activations: others count as such.
    """
    positive = jnp.maximum(gradients, 0)
    total = jnp.maximum(activations, 0).sum((1, 2), keepdims=True)
    return (positive / (2 + total * positive)).sum((1, 2))


def occlusion(
    model: Model,
    variables: Variables,
    image: UInt8[np.ndarray, "h w 3"],
    classes: Sequence[int],
    patch: int,
    stride: int,
) -> Float32[np.ndarray, "classes h w"]:
    """Occlusion sensitivity (Zeiler and Fergus, 2013, arXiv:1311.2901): what the network misses where it is covered.

    A grey square is moved over the image; needs no gradients.

    Args:
        image: as the network takes it.
        classes: those whose probabilities are looked at.
        patch: rows and columns of the square.
        stride: pixels between its places; the last row and column of places end with the image.

    Returns:
        For each of them, by how much the probability falls, as a mean over the places of the square that cover the
        pixel (0 where none does, with a stride larger than the patch). Negative where it rises.

    Raises:
        ConfigError: a patch or stride that is not possible for the image.
    """
    height, width = shape = image.shape[:2]
    least = min(shape)
    require(1 <= patch <= least, "patch", patch, f"from 1 to {least}, the shorter side of the image")
    require(stride >= 1, "stride", stride, "at least 1")
    rows, columns = (sorted({*range(0, side - patch + 1, stride), side - patch}) for side in shape)
    places = np.array([(row, column) for row in rows for column in columns], np.int32)
    nothing = np.array([shape], np.int32)
    whole, *covered = _probabilities_without(model, variables, image, np.concatenate([nothing, places]), patch)
    chosen = list(classes)
    drops, times = np.zeros((len(chosen), height, width)), np.zeros(shape, np.int64)
    for (row, column), probabilities in zip(places, covered, strict=True):
        square = np.s_[row : row + patch, column : column + patch]
        drops[:, *square] += (whole - probabilities)[chosen, None, None]
        times[square] += 1
    return (drops / np.maximum(times, 1)).astype(np.float32)


def _probabilities_without(
    model: Model,
    variables: Variables,
    image: UInt8[np.ndarray, "h w 3"],
    places: Int32[np.ndarray, "n 2"],
    patch: int,
) -> Float32[np.ndarray, "n classes"]:
    """The probabilities with the square at each of the places, row and column."""
    missing = -len(places) % OCCLUDED_BATCH  # so that there is one program
    batches = np.pad(places, ((0, missing), (0, 0))).reshape(-1, OCCLUDED_BATCH, 2)
    found = [_occlusion()(variables, image, batch, model=model, patch=patch) for batch in batches]
    return np.concatenate(found)[: len(places)]


@functools.cache
def _occlusion() -> Any:
    return jit(_occluded, static_argnames=("model", "patch"))


def _occluded(
    variables: Variables, image: UInt8[Array, "h w 3"], places: Int32[Array, "b 2"], *, model: Model, patch: int
) -> Float32[Array, "b classes"]:
    rows, columns = (
        (jnp.arange(side) >= place[:, None]) & (jnp.arange(side) < place[:, None] + patch)
        for side, place in zip(image.shape[:2], places.T, strict=True)
    )
    square = rows[:, :, None, None] & columns[:, None, :, None]
    return model.probabilities(variables, jnp.where(square, jnp.uint8(GREY), image))


def overlay(image: UInt8[np.ndarray, "h w 3"], saliency: Float[np.ndarray, "_ _"]) -> UInt8[np.ndarray, "h w 3"]:
    """A map in colours over a photograph, which shows through in grey: bright is much, dark is nothing.

    Args:
        image: the photograph.
        saliency: from 0 to 1, of any resolution; values outside are clipped. Scaled up bilinearly.
    """
    from matplotlib import colormaps
    from PIL import Image

    height, width = image.shape[:2]
    scaled = Image.fromarray(np.asarray(saliency, np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    colours = colormaps[COLOURS](np.clip(np.asarray(scaled), 0, 1))[..., :3] * 255
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    return np.round(COVER * colours + (1 - COVER) * grey).astype(np.uint8)
