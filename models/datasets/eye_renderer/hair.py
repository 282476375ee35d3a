"""Lashes and brow, laid over the finished face."""

from __future__ import annotations

import math

import numpy as np

from models.datasets.eye_renderer.draws import Floats
from models.datasets.eye_renderer.geometry import View, bell, colour, each, power, smoothstep
from models.datasets.eye_renderer.lids import Lids
from models.datasets.eye_renderer.scene import Traits
from models.datasets.eye_renderer.skin import Skin
from models.datasets.eye_renderer.textures import Textures

LASHES_PER_LID = 28


def draw_lashes(image: Floats, view: View, lids: Lids, traits: Traits, textures: Textures) -> None:
    """Darken `image` (B, 3, H, W) in place: a line along the upper lid, and a fan of strokes on both lids."""
    fade = smoothstep(lids.along, 0.06, 0.35) * (1 - smoothstep(lids.along, 0.97, 1.05))
    line = bell(lids.below_upper / (0.42 + 0.38 * view.pixel)) * fade * lids.between_corners
    reach = 3.0 + 2.6 * lids.along.clip(0, 1)
    upper = _fan(-lids.below_upper, lids.along, view.pixel, traits, textures, length=reach) * fade
    lower = _fan(-lids.above_lower - 0.2, lids.along, view.pixel, traits, textures, length=2.0) * fade
    share = (each(traits.lash) * (0.85 * line + 1.1 * upper + 0.4 * lower * lids.between_corners)).clip(0, 0.93)
    _blend(image, 0.55 * colour(traits.hair), share)


def _fan(
    beyond: Floats, along: Floats, pixel: Floats, traits: Traits, textures: Textures, *, length: Floats | float
) -> Floats:
    """(B, H, W) strokes that start at the lid's edge, `beyond` mm away from it, spread outwards and thin out."""
    spread = 0.06 * np.maximum(beyond, 0)
    root = along - (along - 0.42) * spread / (1 + spread)
    x = root * 30 + each(traits.offset[:, 0])
    uneven = textures.mottle.sample(traits.tile, x, each(traits.offset[:, 1]))
    ragged = textures.pores.sample(traits.tile, x, each(traits.offset[:, 1]))
    reached = (beyond / (length * (1 + 0.2 * ragged.clip(-2, 2)))).clip(0, 1)
    stroke = 0.5 + 0.5 * np.cos(2 * math.pi * LASHES_PER_LID * root + 2 * uneven)
    thinned = power(stroke + 1e-6, 1.2 + 3 * reached)
    # Lashes closer than the pixels blur to their mean.
    resolved = np.maximum(1 - pixel * (LASHES_PER_LID / 29.6), 0)
    blurred = 0.4 * (1 - 0.6 * reached)
    return (blurred + (thinned - blurred) * resolved) * (1 - reached) * (beyond > -0.25)


def draw_brow(image: Floats, view: View, skin: Skin, traits: Traits, textures: Textures) -> None:
    """Lay a tapered arch of slanted hairs over `image` (B, 3, H, W), in place."""
    along = (view.face_x + 15.5) / 35
    middle = each(traits.brow_y) - each(traits.brow_arch) * (1 - ((along - 0.62) / 0.62) ** 2)
    above = view.face_y - middle - 0.5 * skin.mottling.blotches
    half_height = each(traits.brow_height) * smoothstep(along, -0.05, 0.12) * (1 - 0.75 * smoothstep(along, 0.45, 1.02))
    height = np.abs(above / (half_height + 1e-3)) + 1e-6
    shape = np.exp(-0.8 * power(height.clip(None, 5), 2.6))
    shape *= smoothstep(along, -0.06, 0.10) * (1 - smoothstep(along, 0.9, 1.05))

    lean = 1.15 - 1.5 * along.clip(0, 1)
    across, down = view.face_x + lean * above, above
    hairs = textures.hairs.sample(traits.tile, across + each(traits.offset[:, 1]), down + each(traits.offset[:, 0]))
    density = (0.78 + 0.30 * hairs + 0.10 * skin.mottling.pores).clip(0, 1.1)
    share = (each(traits.brow_density) * shape * density).clip(0, 0.95)
    _blend(image, colour(traits.hair) * skin.shade[:, None], share)


def _blend(image: Floats, over: Floats, share: Floats) -> None:
    image += (over - image) * share[:, None]
