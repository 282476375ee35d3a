"""Banks of tileable noise, shared by all subjects and sampled in millimetres.

Each bank is oversampled (its features span several texels), so the nearest texel is as good as interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.datasets.eye_renderer.draws import Draws, Floats

TILES = 12


@dataclass(frozen=True)
class Bank:
    """Tiles of zero-mean, unit-variance noise that repeat without a seam.

    Attributes:
        tiles: float32 (TILES, rows, columns), rows and columns powers of two.
        texels_per_mm: resolution.
    """

    tiles: Floats
    texels_per_mm: float

    def sample(self, tile: NDArray[np.int64], x: Floats, y: Floats) -> Floats:
        """Values (B, H, W) of tile (B,) at positions x, y (broadcast to (B, H, W)) in mm."""
        _, rows, columns = self.tiles.shape
        row = (y * self.texels_per_mm).astype(np.int32) & np.int32(rows - 1)
        column = (x * self.texels_per_mm).astype(np.int32) & np.int32(columns - 1)
        first = (tile * (rows * columns)).astype(np.int32)[:, None, None]
        return self.tiles.reshape(-1).take(first + row * np.int32(columns) + column)


@dataclass(frozen=True)
class Textures:
    """All banks. `iris` is polar: rows run from pupil to limbus, columns round the circle (x, y in turns of 1)."""

    blotches: Bank
    mottle: Bank
    pores: Bank
    hairs: Bank
    veins: Bank
    iris: Bank


@cache
def load_textures() -> Textures:
    """Make the banks (once per process)."""
    return Textures(
        blotches=_bank("blotches", size=256, texels_per_mm=4, sigma_mm=(10, 10)),
        mottle=_bank("mottle", size=256, texels_per_mm=4, sigma_mm=(2.0, 2.0)),
        pores=_bank("pores", size=512, texels_per_mm=8, sigma_mm=(0.3, 0.3)),
        hairs=_hair_bank(),
        veins=_bank("veins", size=256, texels_per_mm=8, sigma_mm=(0.35, 1.8)),
        iris=_iris_bank(),
    )


def _bank(name: str, size: int, texels_per_mm: float, sigma_mm: tuple[float, float]) -> Bank:
    sigma = (sigma_mm[0] * texels_per_mm, sigma_mm[1] * texels_per_mm)
    return Bank(_smooth_noise(name, (size, size), sigma), texels_per_mm)


def _hair_bank() -> Bank:
    """Upright hairs, and the clumps that are left of them from afar."""
    shape, texels_per_mm = (512, 512), 16
    single = _smooth_noise("hairs", shape, (1.6 * texels_per_mm, 0.09 * texels_per_mm))
    clumps = _smooth_noise("hair clumps", shape, (2.2 * texels_per_mm, 0.22 * texels_per_mm))
    return Bank(0.75 * single + 0.6 * clumps, texels_per_mm)


def _iris_bank() -> Bank:
    """Radial fibres and crypts, 64 texels from pupil to limbus by 1024 round the circle."""
    shape = (64, 1024)
    fibres = _smooth_noise("iris fibres", shape, (16, 3.2))
    crypts = _smooth_noise("iris crypts", shape, (5, 14))
    return Bank(0.65 * fibres + 0.5 * crypts, texels_per_mm=1)


def _smooth_noise(name: str, shape: tuple[int, int], sigma: tuple[float, float]) -> Floats:
    """(TILES, *shape) white noise blurred by a Gaussian of `sigma` texels that wraps round."""
    white = Draws.of(0, "textures", np.arange(TILES)).normal_field(name, shape)
    spectrum = np.fft.rfft2(white)
    spectrum *= _transfer(np.fft.fftfreq(shape[0]), sigma[0])[:, None]
    spectrum *= _transfer(np.fft.rfftfreq(shape[1]), sigma[1])
    spectrum[:, 0, 0] = 0
    tiles = np.fft.irfft2(spectrum, s=shape)
    return (tiles / tiles.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def _transfer(frequency: Floats, sigma: float) -> Floats:
    return np.exp(-2 * (np.pi * sigma * frequency) ** 2).astype(np.float32)
