"""Random numbers with addresses: each one is a hash of (renderer version, seed, stream, index, name, element).

So an image owes nothing to the images drawn beside it, and a new named draw leaves all the others as they were.
The hash is the finaliser of SplitMix64 (Steele, Lea & Flood 2014), which any version of numpy computes alike.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 2
"""Raise it with every change that alters a picture: caches and fingerprints follow it."""

# float32 throughout; numpy's stubs would have float32 times a Python float be float64.
Floats = NDArray[Any]
Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: Keys) -> Keys:
    """The SplitMix64 finaliser: a bijection of 64 bits whose output bits all depend on all input bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _name_key(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


@dataclass(frozen=True)
class Draws:
    """One generator per row; every method returns one number (or field) per row.

    Attributes:
        keys: uint64 (B,), what all numbers of a row are derived from.
    """

    keys: Keys

    @staticmethod
    def of(seed: int, stream: str, index: NDArray[np.int64]) -> Draws:
        """Generators of the members `index` (B,) of a stream ("subject", "train", ...) under a data set's seed."""
        stream_key = _name_key(f"eyes {VERSION} {seed} {stream}")
        return Draws(_mix(_mix(index.astype(np.uint64) * _GOLDEN + stream_key) + _GOLDEN))

    def bits(self, name: str, n: int = 1) -> Keys:
        """(B, n) words of 64 random bits."""
        start = _mix(self.keys ^ _name_key(name))[:, None]
        return _mix(start + np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN)

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> Floats:
        """(B,) uniform in [low, high)."""
        unit = (self.bits(name)[:, 0] >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return np.float32(low) + np.float32(high - low) * unit

    def normal(self, name: str, mean: float = 0.0, sd: float = 1.0) -> Floats:
        """(B,) normal."""
        return np.float32(mean) + np.float32(sd) * self.normal_field(name, (1,))[:, 0]

    def integer(self, name: str, n: int) -> NDArray[np.int64]:
        """(B,) uniform over 0 .. n - 1."""
        return ((self.bits(name)[:, 0] >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)

    def normal_field(self, name: str, shape: tuple[int, ...]) -> Floats:
        """(B, *shape) independent standard normals: Box and Muller (1958), two from each word."""
        count = math.prod(shape)
        words = self.bits(name, (count + 1) // 2)
        scale = np.float32(2.0**-32)
        first = (words >> np.uint64(32)).astype(np.float32) * scale + np.float32(2.0**-33)
        angle = (words & np.uint64(0xFFFFFFFF)).astype(np.float32) * (scale * np.float32(2 * math.pi))
        radius = np.sqrt(np.float32(-2) * np.log(np.minimum(first, np.float32(1))))
        pairs = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return pairs[:, :count].reshape(len(words), *shape)
