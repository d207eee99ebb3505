"""Pictures of bright, turned shapes before dark clutter, each a pure function of a seed and its number.

What tells the classes apart is the outline alone: colour, place, size, turn, clutter and noise are random. That shapes
are brighter than what is behind them makes them learnable by a small network from a few thousand pictures.
"""

import numpy as np
from jaxtyping import Float64, UInt8

CLASSES = ("circle", "cross", "ring", "square", "star", "triangle")
"""In alphabetical order; picture `i` shows class `i % 6`."""

CLUTTER = (2, 6)
"""Least and greatest number of bars and dots behind a shape."""

DARK, DIM, BRIGHT = (0.0, 100.0), (0.0, 150.0), (200.0, 255.0)
"""Ranges, of 255: all channels of the background, all channels of the clutter, the highest channel of a shape."""


def draw(size: int, seed: int, number: int) -> UInt8[np.ndarray, "s s 3"]:
    """Picture `number`: a shape of class `number % 6`, all else of it random."""
    rng = np.random.default_rng((seed, number))
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(axis, axis)  # both from -1 to 1
    picture = _background(rng, x, y)
    radius = rng.uniform(0.4, 0.7)
    centre = rng.uniform(radius - 0.95, 0.95 - radius, 2)
    turn = rng.uniform(0, 2 * np.pi)
    u = ((x - centre[0]) * np.cos(turn) + (y - centre[1]) * np.sin(turn)) / radius
    v = ((y - centre[1]) * np.cos(turn) - (x - centre[0]) * np.sin(turn)) / radius
    picture = _paint(picture, _DISTANCES[CLASSES[number % len(CLASSES)]](u, v) * radius, _bright_colour(rng))
    noise = rng.normal(0, rng.uniform(0, 10), picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def _background(
    rng: np.random.Generator, x: Float64[np.ndarray, "s s"], y: Float64[np.ndarray, "s s"]
) -> Float64[np.ndarray, "s s 3"]:
    """A gradient from one colour to another, with bars and dots."""
    turn = rng.uniform(0, 2 * np.pi)
    share = ((x * np.cos(turn) + y * np.sin(turn)) / np.sqrt(8) + 0.5)[..., None]
    picture = share * rng.uniform(*DARK, 3) + (1 - share) * rng.uniform(*DARK, 3)
    for _ in range(rng.integers(*CLUTTER, endpoint=True)):
        left, top, turn = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, 2 * np.pi)
        width, length = rng.uniform(0.02, 0.08), rng.uniform(0.02, 0.6)
        along = (x - left) * np.cos(turn) + (y - top) * np.sin(turn)
        across = (y - top) * np.cos(turn) - (x - left) * np.sin(turn)
        beyond = np.maximum(np.abs(along) - length, 0)
        picture = _paint(picture, np.hypot(beyond, across) - width, rng.uniform(*DIM, 3))
    return picture


def _bright_colour(rng: np.random.Generator) -> Float64[np.ndarray, "3"]:
    """Any hue."""
    colour = rng.uniform(0, 1, 3)
    return colour / colour.max() * rng.uniform(*BRIGHT)


def _paint(
    picture: Float64[np.ndarray, "s s 3"], distance: Float64[np.ndarray, "s s"], colour: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "s s 3"]:
    """Colour where the signed distance to an edge is negative, with an edge one pixel wide."""
    share = np.clip(0.5 - distance * len(distance) / 2, 0, 1)[..., None]
    return picture * (1 - share) + colour * share


def _square(u: Float64[np.ndarray, "s s"], v: Float64[np.ndarray, "s s"]) -> Float64[np.ndarray, "s s"]:
    return np.maximum(np.abs(u), np.abs(v)) - 0.75


def _cross(u: Float64[np.ndarray, "s s"], v: Float64[np.ndarray, "s s"]) -> Float64[np.ndarray, "s s"]:
    upright = np.maximum(np.abs(u) - 0.28, np.abs(v) - 0.95)
    lying = np.maximum(np.abs(u) - 0.95, np.abs(v) - 0.28)
    return np.minimum(upright, lying)


def _triangle(u: Float64[np.ndarray, "s s"], v: Float64[np.ndarray, "s s"]) -> Float64[np.ndarray, "s s"]:
    """The largest distance beyond the three sides, each half a radius from the centre."""
    angles = np.arange(3) * 2 * np.pi / 3
    return np.max([u * np.cos(a) + v * np.sin(a) for a in angles], axis=0) - 0.5


def _star(u: Float64[np.ndarray, "s s"], v: Float64[np.ndarray, "s s"]) -> Float64[np.ndarray, "s s"]:
    """Five points: in a tenth of the turn, the side from a point of radius 1 to a notch of radius 0.42."""
    turn, radius = np.arctan2(v, u), np.hypot(u, v)
    tenth = np.abs((turn + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)  # 0 at a point, pi / 5 at a notch
    notch = 0.42 * np.cos(np.pi / 5), 0.42 * np.sin(np.pi / 5)
    side = np.hypot(1 - notch[0], notch[1])
    return ((radius * np.cos(tenth) - 1) * notch[1] + radius * np.sin(tenth) * (1 - notch[0])) / side


_DISTANCES = {
    "circle": lambda u, v: np.hypot(u, v) - 0.9,
    "cross": _cross,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.75) - 0.2,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}
