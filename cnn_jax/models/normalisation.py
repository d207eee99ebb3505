"""How images become the inputs that pretrained weights expect."""

from typing import Literal

import jax
import jax.numpy as jnp

Normalisation = Literal["tf", "caffe"]

IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)
"""Means of blue, green and red over ImageNet's training images, as VGG was trained."""


def normalise(images: jax.Array, mode: Normalisation) -> jax.Array:
    """uint8[b, h, w, 3] as float32 in the range and order of channels that the weights expect.

    The modes are Keras' (`keras.applications.imagenet_utils`): "tf", of the MobileNets, is x / 127.5 - 1; "caffe", of
    the VGGs, subtracts the means of ImageNet from BGR.
    """
    images = images.astype(jnp.float32)
    if mode == "caffe":
        return images[..., ::-1] - jnp.array(IMAGENET_MEANS_BGR, jnp.float32)
    return images / 127.5 - 1
