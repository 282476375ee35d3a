"""The face round the eye: shading from a made-up relief, folds, mottling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.datasets.eye_renderer.draws import Floats
from models.datasets.eye_renderer.geometry import View, bell, colour, each, smoothstep
from models.datasets.eye_renderer.lids import Lids
from models.datasets.eye_renderer.scene import Light, Scene, Traits
from models.datasets.eye_renderer.textures import Textures

TINT = np.array([0.012, -0.02, -0.02], np.float32)
LID_REDNESS = np.array([0.05, 0.15, 0.14], np.float32)
WET_MARGIN = np.array([0.86, 0.66, 0.60], np.float32)


@dataclass(frozen=True)
class Mottling:
    """Noise of a subject's skin at three scales, (B, H, W) each."""

    blotches: Floats
    mottle: Floats
    pores: Floats


@dataclass(frozen=True)
class Skin:
    """The face without hair: `rgb` (B, 3, H, W); `shade` (B, H, W), how much light falls on it; its `mottling`."""

    rgb: Floats
    shade: Floats
    mottling: Mottling


def draw_skin(view: View, lids: Lids, traits: Traits, scene: Scene, textures: Textures) -> Skin:
    """The skin as if it also covered the opening of the eye."""
    mottling = _mottling(view, traits, textures)
    shade = _shading(view, traits, scene.light, mottling.mottle)
    shade *= 1 - _socket(view, traits)
    shade *= 1 - each(traits.crease_depth) * _crease(view, lids, traits)
    shade *= 1 - each(traits.bag) * _bag(lids)
    shade *= 1 + 0.035 * mottling.blotches + 0.022 * mottling.mottle + 0.022 * mottling.pores
    redness = np.exp(np.minimum(lids.distance, 0) * (1 / 1.8))
    rgb = 1 + colour(TINT) * mottling.blotches[:, None]
    rgb *= 1 - colour(LID_REDNESS) * redness[:, None]
    rgb *= colour(traits.skin) * shade[:, None]
    return Skin(_with_wet_margin(rgb, lids, traits, shade), shade, mottling)


def _mottling(view: View, traits: Traits, textures: Textures) -> Mottling:
    x, y = view.face_x + each(traits.offset[:, 0]), view.face_y + each(traits.offset[:, 1])
    pores = textures.pores.sample(traits.tile, x, y)
    return Mottling(
        blotches=textures.blotches.sample(traits.tile, x, y),
        mottle=textures.mottle.sample(traits.tile, x, y),
        pores=pores * _seen_through_pixels(view.pixel, grain=0.3),
    )


def _seen_through_pixels(pixel: Floats, grain: float) -> Floats:
    """How much of the contrast of a grain of that sd (mm) is left after averaging over a pixel."""
    return grain * grain / (grain * grain + pixel * pixel / 12)


def _shading(view: View, traits: Traits, light: Light, mottle: Floats) -> Floats:
    """Lambert's law on normals of a relief: globe, side of the nose, brow ridge, and the turn of the head."""
    x, y = view.face_x, view.face_y
    globe = (0.45 * 6) * bell(x / 15) * bell((y + 0.5) / 9.5)
    nose = (x + 24) / 8
    ridge = bell((y - each(traits.brow_y) - 3) / 5)
    bumps = 0.012 * mottle
    nx = globe * x * (2 / 225) + 0.45 * bell(nose) * nose + each(view.rotation[:, 0, 2]) + bumps
    ny = globe * (y + 0.5) * (2 / 90) - 0.275 * ridge + each(view.rotation[:, 1, 2]) + bumps
    lx, ly, lz = (each(light.direction[:, i]) for i in range(3))
    facing = np.maximum((nx * lx + ny * ly + lz) / np.sqrt(nx * nx + ny * ny + 1), 0)
    ambient = each(light.ambient)
    return ambient + (1 - ambient) * 1.15 * facing


def _socket(view: View, traits: Traits) -> Floats:
    """Darkness of the hollow between eye and brow, deepest beside the nose."""
    x, y = view.face_x, view.face_y
    inner = bell((x + 9) / 13) * bell((y + 8) / 5.5)
    return each(traits.socket) * (inner + 0.6 * bell(x / 17) * bell((y + 8.5) / 3.5))


def _crease(view: View, lids: Lids, traits: Traits) -> Floats:
    """The fold of the upper lid: it follows the lid's edge, higher above it the wider the eye is open."""
    height = each(traits.crease) + 0.35 * np.maximum(lids.raised - 4, 0) + 0.6 * (lids.along - 0.5)
    below = lids.below_upper + height
    fold = np.exp(np.where(below < 0, below / 1.3, below / -0.45))
    return fold * smoothstep(lids.along, -0.02, 0.2) * (1 - smoothstep(lids.along, 0.92, 1.12))


def _bag(lids: Lids) -> Floats:
    below = -lids.above_lower - 4.6 - 0.8 * (lids.along - 0.5)
    return bell(below / 1.3) * smoothstep(lids.along, 0.0, 0.25) * (1 - smoothstep(lids.along, 0.7, 1.0))


def _with_wet_margin(rgb: Floats, lids: Lids, traits: Traits, shade: Floats) -> Floats:
    """Lay the moist edge of the lower lid over the skin."""
    wet = 0.45 * bell((lids.above_lower + 0.45) / 0.45) * ((lids.below_upper > 0) & lids.between_corners)
    red, green, blue = traits.skin.T
    brightness = traits.sclera * (0.35 + 0.65 * (red + green + blue) / 3)
    rgb *= (1 - wet)[:, None]
    rgb += colour(WET_MARGIN) * (wet * shade * each(brightness))[:, None]
    return rgb
