"""The order of a pass over the training images, in NumPy: what TensorFlow's `stateless_shuffle` gives, bit for bit.

So no start has to load TensorFlow for an order, and a run may go on with orders that either of them drew.
"""

import numpy as np
from jaxtyping import Int64, UInt, UInt32, UInt64

MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
KEY_STEPS = np.array([0x9E3779B9, 0xBB67AE85], np.uint32)
ROUNDS = 10
"""Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), table 2 and section 3.3."""

SCRAMBLING_KEY = np.array([0x3EC8F720, 0x02461E29], np.uint32)
"""With which TensorFlow makes a key and a counter of a seed (`GenerateKey` in its stateless random operations)."""


def shuffled(count: int, seed: tuple[int, int]) -> Int64[np.ndarray, " n"]:
    """The numbers below `count` in an order that `seed`, two numbers of 64 bits with sign, decides."""
    order = list(range(count))
    draws = _random_bits(max(count - 1, 0), seed)
    for i, offset in enumerate(np.asarray(draws, np.int64) % np.arange(count, 1, -1)):  # Fisher and Yates
        j = i + int(offset)
        order[i], order[j] = order[j], order[i]
    return np.asarray(order, np.int64)


def _random_bits(count: int, seed: tuple[int, int]) -> UInt32[np.ndarray, " n"]:
    words = np.asarray(seed, np.dtype("<i8")).view(np.uint32)[:, None]
    mixed = _philox(words, SCRAMBLING_KEY)[:, 0]
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    upper = (np.full(len(blocks), word, np.uint64) for word in mixed[2:])
    return _philox(np.stack([_low(blocks), _high(blocks), *upper]), mixed[:2]).T.ravel()[:count]


def _philox(counters: UInt[np.ndarray, "4 n"], key: UInt32[np.ndarray, "2"]) -> UInt32[np.ndarray, "4 n"]:
    """Random bits of counters of four words of 32 bits, each on its own."""
    a, b, c, d = counters.astype(np.uint64)
    key = key.copy()
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = _high(second) ^ b ^ key[0], _low(second), _high(first) ^ d ^ key[1], _low(first)
        key += KEY_STEPS
    return np.stack([a, b, c, d]).astype(np.uint32)


def _high(words: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    return words >> np.uint64(32)


def _low(words: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    return words & np.uint64(0xFFFFFFFF)
