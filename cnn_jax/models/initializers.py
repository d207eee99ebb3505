"""First values of parameters and statistics, drawn by NumPy: the same on every device and version of JAX.

Flax learns only the shapes: a program that draws the values would have to be compiled at every start, which takes
longer than drawing them.
"""

import math
import zlib

import numpy as np
from jaxtyping import Float32

CONSTANTS = {"bias": 0.0, "scale": 1.0, "mean": 0.0, "var": 1.0, "slope": 0.0}
"""Keras' defaults of what is not drawn at random."""


def initial_value(path: str, shape: tuple[int, ...], seed: int, depthwise: bool) -> Float32[np.ndarray, "..."]:
    """The first value of a leaf of this shape; a function of its path `collection/layer/leaf` and the seed alone.

    Kernels are drawn from Keras' default, Glorot uniform (Glorot and Bengio, 2010): +-sqrt(6 / (fan in + fan out)),
    where a fan counts each position of the kernel. A depthwise kernel [kh, kw, 1, c] has the fans of Keras'
    [kh, kw, c, 1].
    """
    leaf = path.rpartition("/")[2]
    if leaf in CONSTANTS:
        return np.full(shape, CONSTANTS[leaf], np.float32)
    positions, (fan_in, fan_out) = math.prod(shape[:-2]), shape[-2:]
    if depthwise:
        fan_in, fan_out = fan_out, 1
    limit = math.sqrt(6 / (positions * (fan_in + fan_out)))
    rng = np.random.default_rng((seed, zlib.crc32(path.encode())))
    return rng.uniform(-limit, limit, shape).astype(np.float32)
