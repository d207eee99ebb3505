"""What filters and layers hold, as tiles with their numbers: pictures for people who want to look inside."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, UInt8

from cnn_jax.models.chain import Variables
from cnn_jax.models.layers import Conv
from cnn_jax.models.model import Model

SIDE = 96
"""Rows and columns of a tile."""
LABEL = 16
"""Rows of the label above it."""
GAP = 3
"""Pixels between tiles."""
GROUND, WRITING = 34, (255, 255, 255)
"""The grey between tiles and the colour of the labels; they are read in light and dark surroundings."""
SIGNED, UNSIGNED = "RdBu_r", "viridis"
"""matplotlib's colour maps: red is above zero, blue below; from dark to bright."""


def first_filters(model: Model, variables: Variables) -> tuple[str, Float32[np.ndarray, "kh kw 3 f"]] | None:
    """The name of the first layer and its filters, in the order red, green, blue.

    None where the model does not begin with a convolution.
    """
    layer = next((layer for layer in model.layers if str(layer.name) in variables["params"]), None)
    if not isinstance(layer, Conv) or layer.groups != 1:
        return None
    kernel = np.asarray(variables["params"][layer.name]["kernel"], np.float32)
    if kernel.shape[2] == 1:
        kernel = np.repeat(kernel, 3, axis=2)  # of a network for grey images
    if kernel.shape[2] != 3:
        return None
    return str(layer.name), kernel[:, :, ::-1] if model.normalisation == "caffe" else kernel  # caffe's is BGR


def strongest_filters(kernel: Float[np.ndarray, "kh kw c f"], count: int) -> Int64[np.ndarray, " n"]:
    """The numbers of the `count` filters with the largest norm, in ascending order."""
    norms = np.sqrt((kernel.astype(np.float64) ** 2).sum((0, 1, 2)))
    return np.sort(np.argsort(-norms, kind="stable")[:count])


def filter_grid(
    kernel: Float[np.ndarray, "kh kw 3 f"], numbers: Sequence[int] | Int64[np.ndarray, " n"]
) -> UInt8[np.ndarray, "h w 3"]:
    """These filters as colour pictures: mid-grey is a weight of 0.

    Each is scaled to its own largest weight.
    """
    tiles = []
    for number in numbers:
        weights = kernel[..., number] / max(float(np.abs(kernel[..., number]).max()), 1e-12)
        tiles.append((f"{number}", np.round(127.5 + 127.5 * weights).astype(np.uint8)))
    return tile(tiles, SIDE // 2)


def activity(output: Float[np.ndarray, "h w c"]) -> Float64[np.ndarray, " c"]:
    """How active each channel is: the mean of what is above zero."""
    return np.maximum(output, 0).mean((0, 1), dtype=np.float64)


def most_active(output: Float[np.ndarray, "h w c"], count: int) -> Int64[np.ndarray, " n"]:
    """The numbers of the `count` most active channels, the most active first."""
    return np.argsort(-activity(output), kind="stable")[:count]


def most_contrast(output: Float[np.ndarray, "h w c"]) -> int:
    """The number of the channel with the largest standard deviation."""
    return int(output.std((0, 1), dtype=np.float64).argmax())


def feature_grid(
    output: Float[np.ndarray, "h w c"], channels: Sequence[int] | Int64[np.ndarray, " n"]
) -> UInt8[np.ndarray, "_ _ 3"]:
    """These channels as tiles, each with its number and its largest value.

    Each is scaled on its own, see `coloured`.
    """
    signed = bool((output < 0).any())
    tiles = []
    for channel in channels:
        values = output[..., channel]
        tiles.append((f"{channel}: {values.max():.2g}", coloured(values, signed)))
    return tile(tiles, SIDE)


def coloured(values: Float[np.ndarray, "h w"], signed: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Values as colours.

    Signed: white is 0, the fullest red or blue the largest absolute value. Else: dark is 0, bright the maximum.
    """
    from matplotlib import colormaps

    scaled = np.asarray(values, np.float64) / max(float(np.abs(values).max()), 1e-12)
    colours = colormaps[SIGNED]((scaled + 1) / 2) if signed else colormaps[UNSIGNED](scaled)
    return np.round(colours[..., :3] * 255).astype(np.uint8)


def enlarged(pixels: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "oh ow 3"]:
    """A picture so that the longer side has `side` pixels: larger with sharp pixels, smaller by averaging."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def tile(tiles: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]], side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Labels and pictures, enlarged to `side`, in about as many rows as columns."""
    from PIL import Image, ImageDraw, ImageFont

    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    width, height = side + GAP, side + LABEL + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), (GROUND,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (label, pixels) in enumerate(tiles):
        row, column = divmod(place, columns)
        left, top = GAP + column * width, GAP + row * height
        draw.text((left + 1, top), label, fill=WRITING, font=font)
        sheet.paste(Image.fromarray(enlarged(pixels, side)), (left, top + LABEL))
    return np.asarray(sheet)
