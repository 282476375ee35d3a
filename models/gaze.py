"""Gaze directions: the one place that knows the angle convention.

A gaze is (pitch, yaw) in radians, or the unit vector g = (-cos p sin y, -sin p, -cos p cos y) in the camera frame
(x right, y down, z away from the camera). Pitch > 0 looks up, yaw > 0 to the image's left, (0, 0) into the camera.

Every function takes torch tensors or numpy arrays, of any leading shape, and returns the same kind.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, "torch.Tensor")


def pitchyaw_to_vector(pitchyaw: ArrayOrTensor) -> ArrayOrTensor:
    """(..., 2) radians to (..., 3) unit vectors. Raises ValueError when the last axis is not 2 long."""
    xp = _library(pitchyaw, 2)
    pitch, yaw = pitchyaw[..., 0], pitchyaw[..., 1]
    return xp.stack([-xp.cos(pitch) * xp.sin(yaw), -xp.sin(pitch), -xp.cos(pitch) * xp.cos(yaw)], -1)


def vector_to_pitchyaw(vector: ArrayOrTensor) -> ArrayOrTensor:
    """(..., 3) vectors of any length > 0 to (..., 2) radians; pitch in [-pi/2, pi/2], yaw in (-pi, pi]."""
    xp = _library(vector, 3)
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    return xp.stack([xp.arctan2(-y, xp.hypot(x, z)), xp.arctan2(-x, -z)], -1)


def angular_error(a: ArrayOrTensor, b: ArrayOrTensor) -> ArrayOrTensor:
    """Angle in degrees, [0, 180], between gazes (..., 2) in radians; the leading shapes broadcast.

    atan2(|u x v|, u . v) rather than acos of the dot product, which in float32 cannot resolve 0.03 degrees.
    """
    xp = _library(a, 2)
    u, v = pitchyaw_to_vector(a), pitchyaw_to_vector(b)
    shape = xp.broadcast_shapes(u.shape, v.shape)
    cross = xp.linalg.cross(xp.broadcast_to(u, shape), xp.broadcast_to(v, shape))
    return xp.rad2deg(xp.arctan2((cross * cross).sum(-1) ** 0.5, (u * v).sum(-1)))


def planar_error(a: ArrayOrTensor, b: ArrayOrTensor) -> ArrayOrTensor:
    """sqrt(dpitch^2 + dyaw^2) in degrees of gazes (..., 2) in radians; the leading shapes broadcast.

    Not an angle between directions, but what some works call angular error: for comparisons with them alone.
    """
    xp = _library(a, 2)
    return xp.rad2deg(((a - b) ** 2).sum(-1) ** 0.5)


def _library(array: Any, last: int) -> Any:
    if array.shape[-1:] != (last,):
        raise ValueError(f"Expected an array of shape (..., {last}), not {tuple(array.shape)}.")
    torch = sys.modules.get("torch")  # who has no tensors, such as a web process, need not load it
    return torch if torch is not None and isinstance(array, torch.Tensor) else np
