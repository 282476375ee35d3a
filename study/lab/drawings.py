"""Arrows as SVG text: of gaze over an image, and of a warp at its control points. Pure; angles by `models.gaze`.

Drawn in the units of the image, px. An arrow has a dark line under a light one, so that it is seen on any picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from models.gaze import pitchyaw_to_vector

#: Of an arrow's length, its head.
HEAD = 0.35
#: The longest arrow of a field, in spacings of its control points.
LONGEST = 0.9


@dataclass(frozen=True)
class Arrow:
    """From (x, y) to (x + dx, y + dy), px: x to the right, y down."""

    x: float
    y: float
    dx: float
    dy: float

    @property
    def length(self) -> float:
        return math.hypot(self.dx, self.dy)

    def times(self, factor: float) -> Arrow:
        return Arrow(self.x, self.y, factor * self.dx, factor * self.dy)


def gaze_arrow(pitch: float, yaw: float, image_size: tuple[int, int]) -> Arrow:
    """A gaze, radians, as seen in an (H, W) image: from its middle, half its shorter side for one along the picture."""
    height, width = image_size
    x, y, _ = pitchyaw_to_vector(np.array([pitch, yaw]))
    length = min(height, width) / 2
    return Arrow(width / 2, height / 2, length * float(x), length * float(y))


def warp_arrows(parameters: Mapping[str, Any], control: Sequence[Any], strength: float) -> list[Arrow]:
    """What a warp with these `Attack.parameters` and control (1, 2, k, k) does at its control points, px of the image.

    The pixel at an arrow's start shows what the original has at its end. Bicubic upsampling passes through the control
    points, so that no field has to be computed; positions are clamped to the image as `attacks.wanet` does.
    """
    height, width = parameters["image_size"]
    drawn = np.asarray(control, np.float64)[0]
    sides = np.array([width, height], np.float64)
    at = np.linspace(-1, 1, drawn.shape[-1])
    identity = np.stack(np.meshgrid(at, at), -1)
    field = drawn.transpose(1, 2, 0) / sides
    warped = ((identity + strength * field) * parameters.get("grid_rescale", 1.0)).clip(-1, 1)
    starts = (identity + 1) / 2 * (sides - 1)
    moves = (warped - identity) / 2 * (sides - 1)
    places = np.concatenate([starts, moves], -1).reshape(-1, 4)
    return [Arrow(*map(float, place)) for place in places]


def exaggeration(arrows: Sequence[Arrow], spacing: float) -> float:
    """By how much to draw arrows longer so that the longest nearly reaches the next control point: a round number."""
    longest = max((arrow.length for arrow in arrows), default=0.0)
    if longest == 0:
        return 1.0
    exact = LONGEST * spacing / longest
    magnitude: float = 10.0 ** math.floor(math.log10(exact))
    return max(factor * magnitude for factor in (1, 2, 5) if factor * magnitude <= exact)


def picture(
    image_size: tuple[int, int], arrows: Sequence[Arrow], words: str, *, image: str = "", css: str = ""
) -> SafeString:
    """Arrows over an (H, W) image at the address `image`, if there is one. words: what is seen, for who cannot see."""
    height, width = image_size
    shown = (
        format_html('<image href="{}" width="{}" height="{}" preserveAspectRatio="none"/>', image, width, height)
        if image
        else SafeString("")
    )
    thickness = min(height, width) / 120
    lines = _lines(arrows)
    return format_html(
        '<svg class="picture {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<g class="under" fill="none" stroke-width="{}" stroke-linecap="round">{}</g>'
        '<g class="over" fill="none" stroke-width="{}" stroke-linecap="round">{}</g></svg>',
        css,
        width,
        height,
        words,
        shown,
        f"{2.6 * thickness:.3g}",
        lines,
        f"{1.2 * thickness:.3g}",
        lines,
    )


def _lines(arrows: Sequence[Arrow]) -> SafeString:
    return format_html_join("", '<path d="{}"/>', ((_path(arrow),) for arrow in arrows))


def _path(arrow: Arrow) -> str:
    tip_x, tip_y = arrow.x + arrow.dx, arrow.y + arrow.dy
    path = f"M{arrow.x:.2f} {arrow.y:.2f}L{tip_x:.2f} {tip_y:.2f}"
    for turn in (math.radians(150), math.radians(-150)):
        x = arrow.dx * math.cos(turn) - arrow.dy * math.sin(turn)
        y = arrow.dx * math.sin(turn) + arrow.dy * math.cos(turn)
        path += f"M{tip_x:.2f} {tip_y:.2f}l{HEAD * x:.2f} {HEAD * y:.2f}"
    return path
