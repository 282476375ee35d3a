"""From light to bytes: fall-off, white balance, exposure, gamma, blur, sensor noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.datasets.eye_renderer.draws import Draws, Floats
from models.datasets.eye_renderer.geometry import Framing, colour, each

BLUR_RANGE = (0.25, 0.9)
"""Standard deviation of the blur at a width of 64 px, in px."""


def photograph(image: Floats, framing: Framing, draws: Draws) -> NDArray[np.uint8]:
    """Take the picture of (B, 3, H, W) light in about [0, 1]: uint8 of the same shape."""
    exposed = _expose(image, framing, draws)
    blurred = _blur(exposed, draws.uniform("blur", *BLUR_RANGE) * _blur_scale(framing), framing)
    noise = draws.normal_field("sensor noise", blurred.shape[1:])
    noise *= draws.uniform("noise level", 0.003, 0.016)[:, None, None, None]
    blurred += noise
    return np.rint(blurred.clip(0, 1) * 255).astype(np.uint8)


def _expose(image: Floats, framing: Framing, draws: Draws) -> Floats:
    slope = draws.uniform("fall-off", -0.42, 0.42)
    fall_off = 1 + each(slope) * framing.columns() * (1 / framing.width)
    balance = np.stack(
        [draws.normal("red", 1, 0.04), np.ones(len(image), np.float32), draws.normal("blue", 1, 0.05)], axis=1
    )
    gain = balance * draws.uniform("exposure", 0.72, 1.18)[:, None]
    linear = (image * (colour(gain) * fall_off[:, None])).clip(1e-6, 1)
    gamma = draws.uniform("gamma", 0.85, 1.15)
    return np.exp(gamma[:, None, None, None] * np.log(linear))


def _blur(image: Floats, sigma: Floats, framing: Framing) -> Floats:
    """Gaussian blur with sigma (B,) px. The radius is that of the largest sigma, whoever the neighbours are."""
    radius = math.ceil(3 * BLUR_RANGE[1] * _blur_scale(framing))
    offsets = np.arange(radius + 1, dtype=np.float32)
    weights = [np.exp(-0.5 * (offset / sigma) ** 2) for offset in offsets]
    total = weights[0].copy()
    for weight in weights[1:]:
        total += 2 * weight
    weights = [(weight / total)[:, None, None, None] for weight in weights]
    for axis in (2, 3):
        image = _convolve(image, weights, axis)
    return image


def _blur_scale(framing: Framing) -> float:
    """Larger pictures are sharper in mm, though not in px: between equal optics and equal sensors."""
    return math.sqrt(framing.width / 64)


def _convolve(image: Floats, weights: list[Floats], axis: int) -> Floats:
    """Symmetric kernel along one axis, edges repeated; weights from the middle outwards."""
    radius, n = len(weights) - 1, image.shape[axis]
    padding = [(0, 0)] * 4
    padding[axis] = (radius, radius)
    padded = np.moveaxis(np.pad(image, padding, mode="edge"), axis, -1)
    result = weights[0] * padded[..., radius : radius + n]
    for k in range(1, radius + 1):
        result += weights[k] * (padded[..., radius - k : radius - k + n] + padded[..., radius + k : radius + k + n])
    return np.moveaxis(result, -1, axis)
