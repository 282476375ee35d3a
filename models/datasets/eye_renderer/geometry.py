"""From pixels to millimetres on the image plane and on the face; rotations; small numeric shorthands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.datasets.eye_renderer.draws import Floats
from models.datasets.eye_renderer.scene import Scene, Traits

FACE_Z = 10.6
"""Distance of the lids in front of the eyeball's centre, mm."""


@dataclass(frozen=True)
class Framing:
    """The window through which the eye is seen.

    Attributes:
        width, height: pixels.
        span: width of the window, mm.
        eye_below_centre: how far below the middle of the window the eye stands, mm.
    """

    width: int = 64
    height: int = 64
    span: float = 46.0
    eye_below_centre: float = 4.0

    def columns(self) -> Floats:
        """(1, 1, width) pixel centres, in pixels from the middle, to the right."""
        return _centres(self.width)[None, None, :]

    def rows(self) -> Floats:
        """(1, height, 1) pixel centres, in pixels from the middle, downwards."""
        return _centres(self.height)[None, :, None]


def _centres(n: int) -> Floats:
    return np.arange(n, dtype=np.float32) - (n - 1) / 2


def each(value: Floats) -> Floats:
    """(B,) as (B, 1, 1): one number for each image."""
    return value[:, None, None]


def colour(value: Floats) -> Floats:
    """(B, 3) or (3,) as (B, 3, 1, 1): one colour for each image."""
    return np.atleast_2d(value)[:, :, None, None]


def smoothstep(x: Floats, low: float | Floats, high: float | Floats) -> Floats:
    """0 up to low, 1 from high on, a cubic between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bell(x: Floats) -> Floats:
    """exp(-x^2)."""
    return np.exp(-(x * x))


def power(x: Floats, exponent: float | Floats) -> Floats:
    """x ** exponent for x > 0, as exp and log, which numpy vectorises on every processor."""
    return np.exp(exponent * np.log(x))


@dataclass(frozen=True)
class View:
    """Where the pixels are, in mm; fields (B, H, W) unless said otherwise.

    Attributes:
        x, y: on the image plane, (B, 1, W) and (B, H, 1).
        face_x, face_y: on the surface of the face, in the head's own frame: they move with the head.
        pixel: (B, 1, 1), mm per pixel.
        rotation: (B, 3, 3), from the head's frame to the camera's.
        axis: (B, 3), the optical axis of the eye.
    """

    x: Floats
    y: Floats
    face_x: Floats
    face_y: Floats
    pixel: Floats
    rotation: Floats
    axis: Floats


def look(framing: Framing, traits: Traits, scene: Scene) -> View:
    """Lay the pixel grid over the scene."""
    pixel = each(scene.zoom * (framing.span / framing.width))
    x = framing.columns() * pixel + each(scene.shift[:, 0])
    y = framing.rows() * pixel + each(scene.shift[:, 1]) - framing.eye_below_centre
    rotation = head_rotation(scene.head)
    face_x, face_y = _onto_face(x, y, rotation)
    return View(x, y, face_x, face_y, pixel, rotation, optical_axis(scene.gaze + traits.kappa))


def optical_axis(pitchyaw: Floats) -> Floats:
    """(B, 3) unit vectors in this frame (z towards the camera) of (pitch, yaw) (B, 2)."""
    pitch, yaw = pitchyaw[:, 0], pitchyaw[:, 1]
    return np.stack([-np.cos(pitch) * np.sin(yaw), -np.sin(pitch), np.cos(pitch) * np.cos(yaw)], axis=1)


def head_rotation(head: Floats) -> Floats:
    """(B, 3, 3) from the head's frame to the camera's, of (pitch, yaw, roll) (B, 3): pitch, then yaw, then roll."""
    (cp, cy, cr), (sp, sy, sr) = np.cos(head).T, np.sin(head).T
    # Written out: a matrix product need not round alike for every batch size.
    rows = [
        [cr * cy, -cr * sy * sp - sr * cp, -cr * sy * cp + sr * sp],
        [sr * cy, -sr * sy * sp + cr * cp, -sr * sy * cp - cr * sp],
        [sy, cy * sp, cy * cp],
    ]
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def _onto_face(x: Floats, y: Floats, rotation: Floats) -> tuple[Floats, Floats]:
    """Carry image points along z onto the curved face and turn them into the head's frame: two fixed-point steps."""
    r = rotation
    face_x, face_y = np.broadcast_arrays(x, y)
    for _ in range(2):
        depth = FACE_Z - 0.012 * (face_x * face_x) - 0.004 * (face_y * face_y)
        z = (depth - each(r[:, 0, 2]) * x - each(r[:, 1, 2]) * y) / each(r[:, 2, 2])
        face_x = each(r[:, 0, 0]) * x + each(r[:, 1, 0]) * y + each(r[:, 2, 0]) * z
        face_y = each(r[:, 0, 1]) * x + each(r[:, 1, 1]) * y + each(r[:, 2, 1]) * z
    return face_x, face_y
