"""From an image of any size to uint8[s, s, 3]: inside a TensorFlow graph, and the same pixels in NumPy."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from cnn_jax.config import DataConfig
from cnn_jax.io.tensorflow import tf

Fit = Literal["squash", "crop", "pad"]

FLOATS_PAY = 8
"""Pixels of an image for each one of the result up to which it is resized as floats."""


@dataclass(frozen=True)
class Resize:
    """How images of any size become `size` pixels square: the same in training, evaluation and prediction.

    `squash` and bilinear without antialias is what Keras' `image_dataset_from_directory` does, and `crop` its
    `crop_to_aspect_ratio=True`; `pad` is `tf.image.resize_with_pad`, with black beside the picture. Nearest is the
    default of Keras' `load_img` and ImageDataGenerator, and with antialias bilinear and bicubic are Pillow's and so
    `load_img`'s.
    """

    size: int
    fit: Fit = "squash"
    interpolation: Literal["bilinear", "nearest", "bicubic"] = "bilinear"
    antialias: bool = False

    @classmethod
    def of(cls, data: DataConfig, size: int) -> "Resize":
        """As configured."""
        return cls(size, data.resize, data.interpolation, data.antialias)

    def __call__(self, image: Any) -> Any:
        """uint8[h, w, 1 or 3] to uint8[size, size, 3]."""
        shape = (self.size, self.size)
        if image.shape[-1] == 1:
            image = tf().image.grayscale_to_rgb(image)
        if image.shape == (*shape, 3):
            return image
        height, width = tf().unstack(tf().shape(image)[:2], num=2)
        if self.fit == "crop":
            image = _middle_square(image, height, width, tf().minimum(height, width))
        if self.fit != "pad":
            return tf().ensure_shape(self._resized(image, shape), (*shape, 3))
        height, width = (tf().cast(side, tf().int64) for side in (height, width))
        longer = tf().maximum(height, width)
        rows, columns = (tf().cast(_kept(side, longer, self.size), tf().int32) for side in (height, width))
        rows, columns = (tf().maximum(side, 1) for side in (rows, columns))
        bands = (tf().cast(_band(side, longer, self.size), tf().int32) for side in (height, width))
        image = tf().pad(self._resized(image, (rows, columns)), (*_around(self.size, rows, columns, *bands), (0, 0)))
        return tf().ensure_shape(image, (*shape, 3))

    def _resized(self, image: Any, shape: tuple[Any, Any]) -> Any:
        """uint8[h, w, 3] to uint8[*shape, 3], whatever the proportions."""
        if self.interpolation == "bilinear" and not self.antialias:
            return _bilinear(image, shape)
        image = tf().image.resize(image, shape, self.interpolation, antialias=self.antialias)
        return image if self.interpolation == "nearest" else tf().saturate_cast(image + 0.5, tf().uint8)

    def array(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "s s 3"]:
        """As calling it, in NumPy; the image has 1 or 3 channels.

        Bicubic and antialiased images take TensorFlow all the same: its sums are rounded in an order of their own.
        """
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        if image.shape == (self.size, self.size, 3):
            return image
        if self.antialias or self.interpolation == "bicubic":
            return np.asarray(self(tf().constant(image)))
        height, width = image.shape[:2]
        resized = _bilinear_array if self.interpolation == "bilinear" else _nearest_array
        if self.fit == "crop":
            image = _middle_square(image, height, width, min(height, width))
        if self.fit != "pad":
            return resized(image, (self.size, self.size))
        longer = max(height, width)
        rows, columns = (max(_kept(side, longer, self.size), 1) for side in (height, width))
        bands = (_band(side, longer, self.size) for side in (height, width))
        return np.pad(resized(image, (rows, columns)), (*_around(self.size, rows, columns, *bands), (0, 0)))

    def __str__(self) -> str:
        return f"{self.fit}, {self.interpolation}{', antialias' * self.antialias}"


def _bilinear(image: Any, shape: tuple[Any, Any]) -> Any:
    """uint8[h, w, 3] to uint8[*shape, 3]: the values of `tf.image.resize`, rounded, in fewer operations.

    TensorFlow's kernel reads floats nearly twice as fast as bytes, but all pixels have to be made floats first: that
    pays up to `FLOATS_PAY` of them for each one of the result, which also bounds the memory that it takes.
    """

    def resized(pixels: Any) -> Any:
        return tf().raw_ops.ResizeBilinear(images=pixels[None], size=shape, half_pixel_centers=True)

    few = tf().reduce_prod(tf().shape(image)[:2]) <= FLOATS_PAY * shape[0] * shape[1]
    values = tf().cond(few, lambda: resized(tf().cast(image, tf().float32)), lambda: resized(image))
    return tf().reshape(tf().cast(values + 0.5, tf().uint8), (*shape, 3))  # between the values that it weighs


def _kept(side: Any, longer: Any, size: int) -> Any:
    """What a side becomes where the longer one becomes `size`: an integer, or a tensor of int64."""
    return side * size // longer


def _band(side: Any, longer: Any, size: int) -> Any:
    """The black rows, or columns, before it: half of what is missing to `size` before it is rounded."""
    return (longer - side) * size // (2 * longer)


def _around(size: int, rows: Any, columns: Any, top: Any, left: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """What is added before and after rows and columns to make a square of `size`."""
    return (top, size - rows - top), (left, size - columns - left)


def _middle_square(image: Any, height: Any, width: Any, side: Any) -> Any:
    """What lies in the middle of an array or a tensor, `side` pixels square."""
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _places(length: int, size: int) -> Float32[np.ndarray, " s"]:
    """Where the middles of `size` pixels lie on an axis of `length`, as TensorFlow computes them."""
    scale = np.float32(length) / np.float32(size)
    return (np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale


def _nearest_array(image: UInt8[np.ndarray, "h w 3"], shape: tuple[int, int]) -> UInt8[np.ndarray, "oh ow 3"]:
    sides = zip(image.shape[:2], shape, strict=True)
    rows, columns = (np.minimum(_places(n, size).astype(np.int64), n - 1) for n, size in sides)
    return image[rows[:, None], columns]


def _bilinear_array(image: UInt8[np.ndarray, "h w 3"], shape: tuple[int, int]) -> UInt8[np.ndarray, "oh ow 3"]:
    """The sums and products of TensorFlow's kernel, in its order and in float32, so that every bit is the same."""
    sides = zip(image.shape[:2], shape, strict=True)
    (top, bottom, down), (left, right, across) = (_neighbours(n, size) for n, size in sides)

    def along(rows: Int64[np.ndarray, " oh"]) -> Float32[np.ndarray, "oh ow 3"]:
        columns = image[rows].astype(np.float32)
        first = columns[:, left]
        return first + (columns[:, right] - first) * across[:, None]

    upper = along(top)
    return (upper + (along(bottom) - upper) * down[:, None, None] + np.float32(0.5)).astype(np.uint8)


def _neighbours(
    length: int, size: int
) -> tuple[Int64[np.ndarray, " s"], Int64[np.ndarray, " s"], Float32[np.ndarray, " s"]]:
    """The two pixels that each of `size` lies between, and the share of the second."""
    place = _places(length, size) - np.float32(0.5)
    lower = np.floor(place)
    first, second = np.maximum(lower, 0), np.minimum(np.ceil(place), length - 1)
    return first.astype(np.int64), second.astype(np.int64), place - lower
