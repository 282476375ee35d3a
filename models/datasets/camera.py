"""Heads, and the normalised view of a face, in a camera's frame (x right, y down, z away from the camera)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.datasets.samples import FormatError
from models.gaze import vector_to_pitchyaw

Floats = NDArray[np.float64]

NORMAL_FOCAL_PX_AT_224 = 960.0
NORMAL_DISTANCE_MM = 600.0


def rotations(vectors: Floats) -> Floats:
    """Finite rotation vectors (N, 3) to matrices (N, 3, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vectors).as_matrix()


def heads(matrices: Floats) -> Floats:
    """Rotations of heads (N, 3, 3) to their pitch and yaw (N, 2): the face looks along the head's -z axis."""
    return vector_to_pitchyaw(-matrices[..., 2])


@dataclass(frozen=True)
class NormalisedView:
    """What a virtual camera sees that looks at a point of the face from 600 mm, with the head's x axis level.

    Zhang, Sugano and Bulling, "Revisiting data normalization for appearance-based gaze estimation" (ETRA 2018):
    the image is warped by W = C_n S R C^-1, directions are turned by R alone. Lens distortion is not undone.

    Attributes:
        turn: R, (3, 3).
        warp: W, (3, 3), pixels of the frame to pixels of the view; the middle of a pixel is a whole number.
        size: width and height of the view, px.
    """

    turn: Floats
    warp: Floats
    size: int

    @classmethod
    def of(cls, centre: Floats, head: Floats, lens: Floats, size: int, where: str) -> NormalisedView:
        """The view of `centre` (3,), mm, of a head with rotation (3, 3), by a camera with matrix `lens` (3, 3);
        `where` names the row for errors.

        Raises:
            FormatError: if the point is not before the camera, or the camera's matrix is none.
        """
        distance = float(np.linalg.norm(centre))
        if not (centre[2] > 0 and np.isfinite(distance)):
            raise FormatError(f"{where}: the face centre {centre.tolist()} is not before the camera; remove the row.")
        if not (np.isfinite(lens).all() and abs(np.linalg.det(lens)) > 1e-9):
            raise FormatError(f"{where}: the camera's matrix {lens.tolist()} is singular.")
        z = centre / distance
        y = np.cross(z, head[:, 0])
        y /= np.linalg.norm(y)
        turn = np.stack([np.cross(y, z), y, z])
        focal = NORMAL_FOCAL_PX_AT_224 * size / 224
        normal = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
        scaled = np.diag([1, 1, NORMAL_DISTANCE_MM / distance]) @ turn
        return cls(turn, normal @ scaled @ np.linalg.inv(lens), size)

    def picture(self, frame: Image.Image) -> NDArray[np.uint8]:
        """The view, (size, size) or (size, size, 3); black where the frame ends."""
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # to pillow, the middle of a pixel is at .5
        back = half @ np.linalg.inv(self.warp) @ np.linalg.inv(half)
        coefficients: Sequence[float] = (back / back[2, 2]).reshape(-1)[:8].tolist()
        size = (self.size, self.size)
        return np.array(
            frame.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR), np.uint8
        )
