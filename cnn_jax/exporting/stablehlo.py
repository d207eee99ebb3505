"""StableHLO, in the format of `jax.export`: one serialized function that runs in JAX without this package."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float32, UInt8

from cnn_jax.config.image_size import sides
from cnn_jax.errors import WeightsError
from cnn_jax.exporting import description
from cnn_jax.models.chain import Variables
from cnn_jax.models.model import Model

PLATFORMS = ("cpu", "cuda", "tpu")
CALLS = {"shape_assertion"}
"""Functions outside of the program that one of ours names; JAX checks the sizes of a batch with it."""


def serialize(model: Model, variables: Variables) -> bytes:
    """The function uint8[b, h, w, 3] -> probabilities float32[b, classes], for any b, with weights and normalisation.

    It is StableHLO in the format of `jax.export`, lowered for each of `PLATFORMS`.
    """
    (batch,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, *model.image_shape), jnp.uint8)
    function = jax.jit(lambda images: model.probabilities(variables, images))
    return bytes(export.export(function, platforms=PLATFORMS)(images).serialize())


class StableHloNetwork:
    """A .stablehlo file, compiled by JAX."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            WeightsError: it cannot be read, takes or gives something else than images and probabilities, or calls
                functions outside of it.
        """
        self.path = path
        try:
            self._function = export.deserialize(bytearray(path.read_bytes()))
            called = set(re.findall(r"custom_call\s*@([\w.$-]+)", self._function.mlir_module()))
        except OSError:
            raise
        except Exception as error:  # a damaged flatbuffer leads anywhere within it
            raise WeightsError(f"{path} cannot be read by jax.export: {type(error).__name__}: {error}") from error
        if called - CALLS:
            raise WeightsError(f"{path} calls {', '.join(sorted(called - CALLS))}: programs from elsewhere may not")
        taken, given = self._function.in_avals, self._function.out_avals
        shape: tuple[Any, ...] = taken[0].shape if len(taken) == 1 else ()
        size = description.image_size(shape)
        if size is None or taken[0].dtype != jnp.uint8 or len(given) != 1 or len(given[0].shape) != 2:
            raise WeightsError(
                f"{path} does not take images uint8[b, h, w, 3] of 0 to 255 and give probabilities [b, classes]"
            )
        self.image_size, self.classes = size, int(given[0].shape[1])
        self._call = jax.jit(self._function.call)

    def __str__(self) -> str:
        return str(self.path)

    def probabilities(self, images: UInt8[np.ndarray, "b h w 3"]) -> Float32[Array, "b classes"]:
        """Of images of 0 to 255."""
        return self._call(images)

    def compile(self) -> None:
        """Compile what one image takes."""
        self._call.lower(np.zeros((1, *sides(self.image_size), 3), np.uint8)).compile()
