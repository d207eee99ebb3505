"""From an image of any size to that of the network: inside a TensorFlow graph, and the same pixels in NumPy."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from cnn_jax.config import DataConfig
from cnn_jax.config.image_size import ImageSize, sides
from cnn_jax.io.tensorflow import tf

Fit = Literal["squash", "crop", "pad"]

FLOATS_PAY = 8
"""Pixels of an image for each one of the result up to which it is resized as floats."""


@dataclass(frozen=True)
class Resize:
    """How images of any size become one of `size`: the same in training, evaluation and prediction.

    `squash` and bilinear without antialias is what Keras' `image_dataset_from_directory` does, and `crop` its
    `crop_to_aspect_ratio=True`; `pad` is `tf.image.resize_with_pad`, with black beside the picture. Nearest is the
    default of Keras' `load_img` and ImageDataGenerator, and with antialias bilinear and bicubic are Pillow's and so
    `load_img`'s.
    """

    size: ImageSize
    fit: Fit = "squash"
    interpolation: Literal["bilinear", "nearest", "bicubic"] = "bilinear"
    antialias: bool = False

    @classmethod
    def of(cls, data: DataConfig, size: ImageSize) -> "Resize":
        """As configured."""
        return cls(size, data.resize, data.interpolation, data.antialias)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the result: rows, columns and 3 channels."""
        return (*sides(self.size), 3)

    def __call__(self, image: Any) -> Any:
        """uint8[h, w, 1 or 3] to uint8[*shape]."""
        if image.shape[-1] == 1:
            image = tf().image.grayscale_to_rgb(image)
        if image.shape == self.shape:
            return image
        height, width = tf().unstack(tf().shape(image, tf().int64)[:2], num=2)
        if self.fit == "crop":
            top, left, rows, columns = self._window(height, width, tf().minimum, tf().maximum)
            image = image[top : top + rows, left : left + columns]
        if self.fit == "pad":
            padded = self._within(height, width, tf().minimum, tf().maximum)
            top, left, rows, columns = (tf().cast(number, tf().int32) for number in padded)
            image = tf().pad(self._resized(image, (rows, columns)), self._around(top, left, rows, columns))
        else:
            image = self._resized(image, self.shape[:2])
        return tf().ensure_shape(image, self.shape)

    def _resized(self, image: Any, shape: tuple[Any, Any]) -> Any:
        """uint8[h, w, 3] to uint8[*shape, 3], whatever the proportions."""
        if self.interpolation == "bilinear" and not self.antialias:
            return _bilinear(image, shape)
        image = tf().image.resize(image, shape, self.interpolation, antialias=self.antialias)
        return image if self.interpolation == "nearest" else tf().saturate_cast(image + 0.5, tf().uint8)

    def array(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "oh ow 3"]:
        """As calling it, in NumPy; the image has 1 or 3 channels.

        Bicubic and antialiased images take TensorFlow all the same: its sums are rounded in an order of their own.
        """
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        if image.shape == self.shape:
            return image
        if self.antialias or self.interpolation == "bicubic":
            return np.asarray(self(tf().constant(image)))
        height, width = image.shape[:2]
        resized = _bilinear_array if self.interpolation == "bilinear" else _nearest_array
        if self.fit == "pad":
            top, left, rows, columns = self._within(height, width, min, max)
            return np.pad(resized(image, (rows, columns)), self._around(top, left, rows, columns))
        if self.fit == "crop":
            top, left, rows, columns = self._window(height, width, min, max)
            image = image[top : top + rows, left : left + columns]
        return resized(image, self.shape[:2])

    def _window(self, height: Any, width: Any, least: Any, most: Any) -> tuple[Any, Any, Any, Any]:
        """Top, left, rows and columns of the largest part in the middle of an image that has the right proportions.

        Args:
            height: an integer, or a tensor of int64; as `width`.
            least: the function `min`, or TensorFlow's.
            most: the function `max`, or TensorFlow's.
        """
        wanted_height, wanted_width, _ = self.shape
        rows = least(height, most(width * wanted_height // wanted_width, 1))
        columns = least(width, most(height * wanted_width // wanted_height, 1))
        return (height - rows) // 2, (width - columns) // 2, rows, columns

    def _within(self, height: Any, width: Any, least: Any, most: Any) -> tuple[Any, Any, Any, Any]:
        """Top, left, rows and columns of all of an image in the middle of the result; arguments as of `_window`."""
        wanted_height, wanted_width, _ = self.shape
        rows = most(least(wanted_height, height * wanted_width // width), 1)
        columns = most(least(wanted_width, width * wanted_height // height), 1)
        # half of what is missing before it is rounded
        top = most((wanted_height * width - height * wanted_width) // (2 * width), 0)
        left = most((wanted_width * height - width * wanted_height) // (2 * height), 0)
        return top, left, rows, columns

    def _around(self, top: Any, left: Any, rows: Any, columns: Any) -> tuple[tuple[Any, Any], ...]:
        """What is added before and after rows, columns and channels."""
        height, width, _ = self.shape
        return (top, height - rows - top), (left, width - columns - left), (0, 0)

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


def _places(length: int, size: int) -> Float32[np.ndarray, " s"]:
    """Where the middles of `size` pixels lie on an axis of `length`, as TensorFlow computes them."""
    scale = np.float32(length) / np.float32(size)
    return (np.arange(size, dtype=np.float32) + np.float32(0.5)) * scale


def _nearest_array(image: UInt8[np.ndarray, "h w 3"], shape: tuple[int, int]) -> UInt8[np.ndarray, "oh ow 3"]:
    axes = zip(image.shape[:2], shape, strict=True)
    rows, columns = (np.minimum(_places(n, size).astype(np.int64), n - 1) for n, size in axes)
    return image[rows[:, None], columns]


def _bilinear_array(image: UInt8[np.ndarray, "h w 3"], shape: tuple[int, int]) -> UInt8[np.ndarray, "oh ow 3"]:
    """The sums and products of TensorFlow's kernel, in its order and in float32, so that every bit is the same."""
    axes = zip(image.shape[:2], shape, strict=True)
    (top, bottom, down), (left, right, across) = (_neighbours(n, size) for n, size in axes)

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
