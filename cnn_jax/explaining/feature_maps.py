"""What filters and layers hold, as tiles with their numbers: pictures for people who want to look inside."""

import math
from collections.abc import Sequence

import numpy as np

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


def first_filters(model: Model, variables: Variables) -> tuple[str, np.ndarray] | None:
    """The name of the first layer and its filters, float32[kh, kw, 3, n] in the order red, green, blue.

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


def strongest_filters(kernel: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the `count` filters of float[kh, kw, c, n] with the largest norm, in ascending order."""
    norms = np.sqrt((kernel.astype(np.float64) ** 2).sum((0, 1, 2)))
    return np.sort(np.argsort(-norms, kind="stable")[:count])


def filter_grid(kernel: np.ndarray, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """These filters of float[kh, kw, 3, n] as colour pictures: mid-grey is a weight of 0; uint8[h, w, 3].

    Each is scaled to its own largest weight.
    """
    tiles = []
    for number in numbers:
        weights = kernel[..., number] / max(float(np.abs(kernel[..., number]).max()), 1e-12)
        tiles.append((f"{number}", np.round(127.5 + 127.5 * weights).astype(np.uint8)))
    return tile(tiles, SIDE // 2)


def activity(output: np.ndarray) -> np.ndarray:
    """How active each channel of float[h, w, c] is: the mean of what is above zero, float64[c]."""
    return np.maximum(output, 0).mean((0, 1), dtype=np.float64)


def most_active(output: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the `count` most active channels of float[h, w, c], the most active first."""
    return np.argsort(-activity(output), kind="stable")[:count]


def most_contrast(output: np.ndarray) -> int:
    """The number of the channel of float[h, w, c] with the largest standard deviation."""
    return int(output.std((0, 1), dtype=np.float64).argmax())


def feature_grid(output: np.ndarray, channels: Sequence[int] | np.ndarray) -> np.ndarray:
    """These channels of float[h, w, c] as tiles, each with its number and its largest value; uint8[h, w, 3].

    Each is scaled on its own, see `coloured`.
    """
    signed = bool((output < 0).any())
    tiles = []
    for channel in channels:
        values = output[..., channel]
        tiles.append((f"{channel}: {values.max():.2g}", coloured(values, signed)))
    return tile(tiles, SIDE)


def coloured(values: np.ndarray, signed: bool) -> np.ndarray:
    """float[h, w] as colours, uint8[h, w, 3].

    Signed: white is 0, the fullest red or blue the largest absolute value. Else: dark is 0, bright the maximum.
    """
    from matplotlib import colormaps

    scaled = np.asarray(values, np.float64) / max(float(np.abs(values).max()), 1e-12)
    colours = colormaps[SIGNED]((scaled + 1) / 2) if signed else colormaps[UNSIGNED](scaled)
    return np.round(colours[..., :3] * 255).astype(np.uint8)


def enlarged(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8[h, w, 3] so that the longer side has `side` pixels: larger with sharp pixels, smaller by averaging."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def tile(tiles: Sequence[tuple[str, np.ndarray]], side: int) -> np.ndarray:
    """Labels and pictures uint8[h, w, 3], enlarged to `side`, in about as many rows as columns: uint8[h, w, 3]."""
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
