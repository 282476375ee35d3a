"""The opening of the eye: two curves from corner to corner, on the face."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.datasets.eye_renderer.draws import Floats
from models.datasets.eye_renderer.geometry import View, each, power, smoothstep
from models.datasets.eye_renderer.scene import Scene, Traits


@dataclass(frozen=True)
class Lids:
    """Where each pixel lies relative to the lids; fields (B, H, W) unless said otherwise.

    Attributes:
        along: 0 at the inner to 1 at the outer corner, beyond outside.
        between_corners: whether 0 < along < 1.
        below_upper: mm below the edge of the upper lid.
        above_lower: mm above the edge of the lower lid.
        distance: mm inside the opening, negative outside.
        opening: share of the pixel that the opening covers, 0 to 1.
        raised: (B, 1, 1), height of the upper lid's arch, mm.
    """

    along: Floats
    between_corners: np.ndarray
    below_upper: Floats
    above_lower: Floats
    distance: Floats
    opening: Floats
    raised: Floats


def open_lids(view: View, traits: Traits, scene: Scene) -> Lids:
    """Lay the lids over the face; they open and close with gaze pitch minus head pitch."""
    upper, lower = _heights(traits, scene)
    along = (view.face_x / each(traits.half_width) + 1) * 0.5
    inside = along.clip(1e-3, 1 - 1e-3)
    log_inside = np.log(inside)
    skew = each(math.log(0.5) / np.log(traits.peak))

    corner_line = _corner_line(view, traits, along)
    below_upper = view.face_y - corner_line + each(upper) * _arch(log_inside * skew, 0.62)
    above_lower = corner_line - view.face_y + each(lower) * _arch(log_inside * (skew * 0.86), 0.75)
    distance = _signed_distance(view, traits, along, corner_line, np.minimum(below_upper, above_lower))
    return Lids(
        along=along,
        between_corners=(along > 0) & (along < 1),
        below_upper=below_upper,
        above_lower=above_lower,
        distance=distance,
        opening=smoothstep(distance / view.pixel, -0.6, 0.6),
        raised=each(upper),
    )


def _heights(traits: Traits, scene: Scene) -> tuple[Floats, Floats]:
    """(B,) heights of the upper and the lower lid's arch, mm: the lids follow the eye."""
    pitch = (scene.gaze[:, 0] + traits.kappa[:, 0] - scene.head[:, 0]).clip(-0.7, 0.5)
    upper = traits.upper * (1 + 0.95 * pitch) * scene.lid_lift
    return upper.clip(2.2, 9.0), traits.lower * (1 - 0.25 * pitch)


def _corner_line(view: View, traits: Traits, along: Floats) -> Floats:
    """y of the line from corner to corner, which dips into the tear duct."""
    return 0.9 * (1 - smoothstep(along, 0.0, 0.14)) * (along > 0) - each(traits.tilt) * view.face_x


def _arch(log_position: Floats, exponent: float) -> Floats:
    """(4 w (1 - w)) ** exponent with w given as its logarithm: 0 at the corners, 1 at the peak."""
    w = np.exp(log_position)
    return power(4 * w * (1 - w), exponent)


def _signed_distance(view: View, traits: Traits, along: Floats, corner_line: Floats, inside: Floats) -> Floats:
    """mm into the opening; beyond the corners the distance to the corner takes over without a seam."""
    beyond = np.maximum(np.maximum(-along, along - 1), 0) * each(2 * traits.half_width)
    height = view.face_y - corner_line
    outside = -np.sqrt(beyond * beyond + height * height + 1e-4)
    share = smoothstep(np.minimum(along, 1 - along), -0.02, 0.05)
    return inside * share + outside * (1 - share)
