"""How images become the inputs that pretrained weights expect."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float32, Num, UInt8

Normalisation = Literal["tf", "caffe", "torch", "unit", "none"]

IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)
"""Means of blue, green and red over ImageNet's training images, as VGG was trained."""


IMAGENET_MEANS = (0.485, 0.456, 0.406)
IMAGENET_DEVIATIONS = (0.229, 0.224, 0.225)
"""Of red, green and blue from 0 to 1, over ImageNet's training images, as DenseNet was trained in Torch."""


def normalise(images: Num[Array, "b h w c"], mode: Normalisation) -> Float32[Array, "b h w c"]:
    """Values of 0 to 255 in the range and order of channels that the weights expect.

    The modes are Keras' (`keras.applications.imagenet_utils`): "tf", of the MobileNets, is x / 127.5 - 1; "caffe", of
    the VGGs, subtracts the means of ImageNet from BGR; "torch", of DenseNet, divides by 255, and subtracts means and
    divides by deviations. "unit" is x / 255, and "none" leaves 0 to 255.
    """
    images = images.astype(jnp.float32)
    if mode == "none":
        return images
    if mode == "unit":
        return images / 255
    if mode == "torch":
        return (images / 255 - jnp.array(IMAGENET_MEANS, jnp.float32)) / jnp.array(IMAGENET_DEVIATIONS, jnp.float32)
    if mode == "caffe":
        return images[..., ::-1] - jnp.array(IMAGENET_MEANS_BGR, jnp.float32)
    return images / 127.5 - 1


def grey(images: Num[Array, "b h w 3"]) -> UInt8[Array, "b h w 1"]:
    """The luma of ITU-R 601, rounded as Pillow does for Keras' `load_img`."""
    weights = jnp.array([19595, 38470, 7471], jnp.int32)  # 0.299, 0.587 and 0.114 of 2**16
    return ((images.astype(jnp.int32) * weights).sum(-1, keepdims=True) + 2**15 >> 16).astype(jnp.uint8)
