"""A trained network as one serialized function that runs without this package."""

import jax
import jax.numpy as jnp
from jax import export

from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model

PLATFORMS = ("cpu", "cuda", "tpu")


def serialize(model: Model, variables: Variables) -> bytes:
    """The function uint8[b, s, s, 3] -> probabilities float32[b, classes], for any b, with weights and normalisation.

    It is StableHLO in the format of `jax.export`, lowered for each of `PLATFORMS`.
    """
    (batch,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, model.image_size, model.image_size, 3), jnp.uint8)
    function = jax.jit(lambda images: model.probabilities(variables, images))
    return bytes(export.export(function, platforms=PLATFORMS)(images).serialize())
