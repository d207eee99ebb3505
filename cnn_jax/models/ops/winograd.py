"""3x3 convolutions of stride 1 with half of the multiplications, for CPUs: Winograd's F(4, 3) along the columns.

Four outputs beside each other are a polynomial product of the six inputs that they read and the three weights of a
row of the kernel. Taken at six points (0, 1, -1, 2, -2 and infinity) it takes 6 multiplications in place of 12. Along
the rows, the kernel's three stay as they are, so each point is an ordinary 3x1 convolution over a quarter of the
columns. The tables are those of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4.

The sums are made with other factors: against float64, with 64 to 512 channels, the largest error was 2 to 6e-6 of the
largest output, where the direct form's was 1e-6, and that of F(4x4, 3x3), along both axes, 1 to 2e-5.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32

from cnn_jax.models.ops.shifts import Pads

OUTPUTS, POINTS = 4, 6
INPUT_TABLE = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))  # fmt: skip  # noqa: E501
"""Each point's value of the inputs, from the six of them."""
_6, _12, _24 = Fraction(1, 6), Fraction(1, 12), Fraction(1, 24)
KERNEL_TABLE = ((Fraction(1, 4), 0, 0), (-_6, -_6, -_6), (-_6, _6, -_6), (_24, _12, _6), (_24, -_12, _6), (0, 0, 1))
"""Each point's value of the weights, from the three of a row."""
OUTPUT_TABLE = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
"""The four outputs, from the products at the points."""

LEAST_CHANNELS, LEAST_FEATURES = 64, 32
LEAST_PIXELS = 700
"""In a batch. The kernel is transformed at each call; with fewer pixels that costs what the products save."""


def pays(images: Sequence[int], kernel: Sequence[int], pads: Pads, dtype: jnp.dtype) -> bool:
    """Whether a 3x3 convolution of stride 1 over images of this shape is faster in this form, on CPU.

    Measured on AVX2 over batches of 1 to 32 images (docs/performance.md): from these sizes on it was 1.1 to 2 times.
    """
    height, width, channels, features = kernel
    if (height, width) != (3, 3) or dtype != jnp.float32 or not isinstance(images[0], int):
        return False
    rows, columns = (size + sum(pad) - 2 for size, pad in zip(images[1:3], pads, strict=True))
    return (
        channels >= LEAST_CHANNELS
        and features >= LEAST_FEATURES
        and columns >= OUTPUTS
        and images[0] * rows * columns >= LEAST_PIXELS
    )


def winograd_conv(
    images: Float32[Array, "b h w c"], kernel: Float32[Array, "3 3 c f"], pads: Pads
) -> Float32[Array, "b oh ow f"]:
    """Convolve with stride 1."""
    rows, (left, right) = pads
    columns = images.shape[2] + left + right - 2
    blocks = -(-columns // OUTPUTS)
    reach = (blocks - 1) * OUTPUTS + 1
    zero = jnp.zeros((), images.dtype)
    padded = lax.pad(images, zero, ((0, 0, 0), (0, 0, 0), (left, right + blocks * OUTPUTS - columns, 0), (0, 0, 0)))
    inputs = _combined(INPUT_TABLE, [padded[:, :, j : j + reach : OUTPUTS] for j in range(POINTS)])
    weights = _combined(KERNEL_TABLE, [kernel[:, j : j + 1] for j in range(3)])
    products = [
        lax.conv_general_dilated(x, w, (1, 1), (rows, (0, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC"))
        for x, w in zip(inputs, weights, strict=True)
    ]
    outputs = jnp.stack(_combined(OUTPUT_TABLE, products), axis=3)
    return outputs.reshape(*outputs.shape[:2], blocks * OUTPUTS, -1)[:, :, :columns]


def _combined(
    table: Iterable[Sequence[int | Fraction]], arrays: Sequence[Float[Array, "*shape"]]
) -> list[Float[Array, "*shape"]]:
    """For each row of the table the sum of the arrays times its numbers; zeros and ones cost nothing."""
    return [_sum([a if n == 1 else a * float(n) for n, a in zip(row, arrays, strict=True) if n]) for row in table]


def _sum(terms: Sequence[Float[Array, "*shape"]]) -> Float[Array, "*shape"]:
    total = terms[0]
    for term in terms[1:]:
        total += term
    return total
