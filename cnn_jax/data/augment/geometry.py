"""Flips, rotation, shifts, shear, zoom and random resized crop, as one projective resample of an image.

The vocabulary and its arithmetic are those of Keras' ImageDataGenerator (keras/src/legacy/preprocessing/image.py).
"""

import math
from typing import Any

import numpy as np

from cnn_jax.config import AugmentConfig, FillMode, Shift
from cnn_jax.data.augment.chance import Stage, between, uniforms
from cnn_jax.data.augment.pixels import to_uint8
from cnn_jax.data.augment.windows import WINDOW_DRAWS, Window, draw_window
from cnn_jax.io.tensorflow import tf

DRAWS = 8
"""Uniform numbers that an image takes: rotation, width and height shift, shear, zoom of columns and of rows, both
flips."""

RIM = 1e-4
"""Pixels by which a position may lie outside the image, through rounding, and still count as inside."""


def move(image: Any, seed: Any, config: AugmentConfig, shape: tuple[int, int] | None) -> Any:
    """The geometric part of `augment`, with its arguments and result."""
    if not (config.resamples or config.horizontal_flip or config.vertical_flip):
        return image
    draws = uniforms(seed, Stage.GEOMETRY, DRAWS)
    if config.reads_originals:
        assert shape is not None
        if image.shape[-1] == 1:
            image = tf().image.grayscale_to_rgb(image)
        window = crop_window(uniforms(seed, Stage.CROP, WINDOW_DRAWS), config, *tf().unstack(tf().shape(image)[:2]))
        transform = into_window(transform_vector(draws, config, *shape, tf()), window, shape)
        return resample(image, transform, shape, config.fill_mode, config.fill_value)
    height, width = image.shape[:2]
    if not config.resamples:
        return flipped(image, draws, config, tf())
    transform = transform_vector(draws, config, height, width, tf())
    return resample(image, transform, (height, width), config.fill_mode, config.fill_value)


def transform_vector(draws: Any, config: AugmentConfig, height: int, width: int, xp: Any) -> Any:
    """The map from output to input pixels that uniforms in [0, 1) choose, as ImageProjectiveTransformV3 takes it.

    The parameters have the ranges of ImageDataGenerator and compose in its order around the centre of the image:
    rotation [[cos, -sin], [sin, cos]], shift, shear [[1, -sin], [0, cos]], zoom; then the flips. The product of the
    linear parts has a short closed form, which is what is computed here.

    Keras gives the shift of the height, and half the height, to the coordinate along the width, and the other way
    round; `config.compatibility` does so too.

    Args:
        draws: float32[DRAWS].
        config: the ranges.
        height: of the image, in pixels.
        width: of the image, in pixels.
        xp: `tensorflow` or `jax.numpy`.

    Returns:
        float32[8]: a, b, c, d, e, f, 0, 0, where output (x, y) takes the input at (a x + b y + c, d x + e y + f).
    """
    signed = 2 * draws - 1
    angle = signed[0] * math.radians(config.rotation)
    tilt = angle + signed[3] * math.radians(config.shear)
    along_x = _shift(signed[1], config.width_shift, width, xp), (width - 1) / 2
    along_y = _shift(signed[2], config.height_shift, height, xp), (height - 1) / 2
    if config.compatibility == "keras":
        along_x, along_y = along_y, along_x
    (right, centre_x), (down, centre_y) = along_x, along_y
    wide, high = between(draws[4], *config.zoom_range), between(draws[5], *config.zoom_range)
    cos, sin = xp.cos(angle), xp.sin(angle)
    a, b = cos * wide, -xp.sin(tilt) * high
    d, e = sin * wide, xp.cos(tilt) * high
    c = cos * right - sin * down + centre_x - a * centre_x - b * centre_y
    f = sin * right + cos * down + centre_y - d * centre_x - e * centre_y
    if config.horizontal_flip:  # x becomes width - 1 - x
        mirrored = draws[6] < 0.5
        a, c = xp.where(mirrored, -a, a), xp.where(mirrored, c + a * (width - 1), c)
        d, f = xp.where(mirrored, -d, d), xp.where(mirrored, f + d * (width - 1), f)
    if config.vertical_flip:
        mirrored = draws[7] < 0.5
        b, c = xp.where(mirrored, -b, b), xp.where(mirrored, c + b * (height - 1), c)
        e, f = xp.where(mirrored, -e, e), xp.where(mirrored, f + e * (height - 1), f)
    return xp.stack([a, b, c, d, e, f, 0.0, 0.0])


def crop_window(draws: Any, config: AugmentConfig, height: Any, width: Any) -> Window:
    """What random resized crop cuts out of an image of int32[] height and width.

    Where none of the drawn rectangles fits, it is the largest one in the middle with a possible ratio, as in
    torchvision (RandomResizedCrop.get_params).
    """
    assert config.crop_area is not None
    height, width = tf().cast(height, tf().float32), tf().cast(width, tf().float32)
    window = draw_window(draws, height, width, config.crop_area, config.crop_ratio, tf())
    least, greatest = config.crop_ratio
    middle_height, middle_width = tf().minimum(height, width / least), tf().minimum(width, height * greatest)
    middle = ((height - middle_height) / 2, (width - middle_width) / 2, middle_height, middle_width)
    top, left, tall, wide = tf().unstack(tf().where(window.fits, tf().stack(window[:4]), tf().stack(middle)))
    return Window(top, left, tall, wide, window.fits)


def into_window(transform: Any, window: Window, shape: tuple[int, int]) -> Any:
    """A transform of the window, resized to `shape`, as one that reads from the whole image: both resamples in one.

    Half a pixel is taken off on both sides, as in `tf.image.resize`.
    """
    a, b, c, d, e, f, *zeros = tf().unstack(transform)
    down, across = window.height / shape[0], window.width / shape[1]
    c = across * (c + 0.5) + window.left - 0.5
    f = down * (f + 0.5) + window.top - 0.5
    return tf().stack([across * a, across * b, c, down * d, down * e, f, *zeros])


def resample(image: Any, transform: Any, shape: tuple[int, int], fill_mode: FillMode, fill_value: float) -> Any:
    """uint8[h, w, 3] to uint8[*shape, 3], bilinear; `transform` as `transform_vector` gives it.

    The fill modes are SciPy's, so Keras'. TensorFlow has nearest and reflect. In its own constant the outermost pixels
    fade into the fill, and its own wrap goes astray more than one width away.
    """
    pixels = tf().cast(image, tf().float32)
    if fill_mode == "wrap":
        return to_uint8(_resample_wrapping(pixels, *positions(transform, shape)))
    moved = tf().raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=transform[None],
        output_shape=shape,
        interpolation="BILINEAR",
        fill_mode="NEAREST" if fill_mode == "constant" else fill_mode.upper(),
        fill_value=0.0,
    )[0]
    if fill_mode == "constant":
        last_row, last_column = tf().unstack(tf().cast(tf().shape(image)[:2] - 1, tf().float32))
        columns, rows = positions(transform, shape)
        inside = within(columns, last_column) & within(rows, last_row)
        moved = tf().where(inside[..., None], moved, fill_value)
    return to_uint8(moved)


def positions(transform: Any, shape: tuple[int, int]) -> tuple[Any, Any]:
    """float32[*shape] twice: the column and the row of the input that each pixel of the output is taken from."""
    x, y = np.arange(shape[1], dtype=np.float32), np.arange(shape[0], dtype=np.float32)[:, None]
    a, b, c, d, e, f = (transform[i] for i in range(6))
    return a * x + b * y + c, d * x + e * y + f


def within(position: Any, last: Any) -> Any:
    """Whether positions lie between the first and the last pixel."""
    return (position >= -RIM) & (position <= last + RIM)


def _resample_wrapping(pixels: Any, columns: Any, rows: Any) -> Any:
    """Bilinear; outside the image it repeats, with a period of one pixel less than its size, as SciPy's wrap."""
    height, width = tf().unstack(tf().shape(pixels)[:2])
    left, right, along = _neighbours(columns, width)
    upper, lower, down = _neighbours(rows, height)
    flat = tf().reshape(pixels, (-1, 3))

    def row(index: Any) -> Any:
        first, second = (tf().gather(flat, index * width + column) for column in (left, right))
        return first + along * (second - first)

    above, below = row(upper), row(lower)
    return above + down * (below - above)


def _neighbours(position: Any, extent: Any) -> tuple[Any, Any, Any]:
    """int32[h, w] twice: the pixels before and after a position; float32[h, w, 1]: the share of the second."""
    last = tf().cast(extent - 1, tf().float32)
    beyond = tf().math.floormod(tf().abs(position), tf().maximum(last, 1))
    wrapped = tf().where(position < 0, last - beyond, beyond)
    position = tf().clip_by_value(tf().where(within(position, last), position, wrapped), 0, last)
    before = tf().floor(position)
    first = tf().cast(before, tf().int32)
    return first, tf().minimum(first + 1, extent - 1), (position - before)[..., None]


def flipped(image: Any, draws: Any, config: AugmentConfig, xp: Any) -> Any:
    """The flips alone: no arithmetic on pixels."""
    if config.horizontal_flip:
        image = xp.where(draws[6] < 0.5, image[:, ::-1], image)
    if config.vertical_flip:
        image = xp.where(draws[7] < 0.5, image[::-1], image)
    return image


def _shift(signed: Any, sizes: Shift, extent: int, xp: Any) -> Any:
    """Pixels, from a number in [-1, 1): a size below 1 is a fraction of the extent; of several, one is drawn."""
    if isinstance(sizes, tuple):
        place, chosen = xp.abs(signed) * len(sizes), float(sizes[0])
        for index, size in enumerate(sizes[1:], 1):
            chosen = xp.where(place >= index, float(size), chosen)
        pixels, greatest = xp.sign(signed) * chosen, max(sizes)
    else:
        pixels, greatest = signed * sizes, sizes
    return pixels * extent if greatest < 1 else pixels
