"""A grid of gaze zones: gaze estimation as classification, so that both can be attacked on the same images.

A zone classifier's predictions are read as the centres of the predicted zones (`ZonePredictor`), so that everything
that is said of gazes can be said of them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

AXES = ("pitch", "yaw")


@dataclass(frozen=True)
class Zones:
    """The centres of a grid's rows and columns: `pitch` (R,) and `yaw` (C,), radians, rising.

    A gaze lies in the row and the column whose centres are nearest; the outer ones have no end. Zones are numbered row
    by row from the lowest pitch, within a row from the least yaw.

    Raises ValueError when there are fewer than two zones or centres that do not rise.
    """

    pitch: tuple[float, ...]
    yaw: tuple[float, ...]

    def __post_init__(self) -> None:
        for axis in AXES:
            centres = tuple(float(centre) for centre in getattr(self, axis))
            object.__setattr__(self, axis, centres)
            if not centres or not all(low < high for low, high in pairwise(centres)):
                raise ValueError(
                    f"The zones' {axis} centres must rise, not {centres}: "
                    "ask for fewer zones where labels take few values, or give limits."
                )
        if len(self) < 2:
            raise ValueError("One zone alone leaves nothing to classify: ask for at least two.")

    def __len__(self) -> int:
        return len(self.pitch) * len(self.yaw)

    @classmethod
    def between(cls, limits_deg: Sequence[float], grid: tuple[int, int]) -> Zones:
        """Zones of equal size in (pitch low, pitch high, yaw low, yaw high), degrees, as rows x columns of `grid`.

        Raises ValueError for limits that are not two rising pairs.
        """
        limits = tuple(zip(limits_deg[::2], limits_deg[1::2], strict=False))
        if len(limits_deg) != 4 or not all(low < high for low, high in limits):
            raise ValueError(
                f"Zone limits are (pitch low, pitch high, yaw low, yaw high) in degrees, not {tuple(limits_deg)}."
            )
        axes = zip(limits, grid, strict=True)
        return cls(*(tuple((low + (high - low) * _shares(n)).deg2rad().tolist()) for (low, high), n in axes))

    @classmethod
    def of_labels(cls, pitchyaw: Tensor, grid: tuple[int, int]) -> Zones:
        """Zones of similar shares of these gazes (N, 2), radians: the i-th of n centres is the quantile (i + 1/2) / n.

        Raises ValueError when the gazes take too few values for so many rows or columns.
        """
        axes = zip(pitchyaw.double().unbind(1), grid, strict=True)
        return cls(*(tuple(torch.quantile(axis, _shares(n)).tolist()) for axis, n in axes))

    def of(self, pitchyaw: Tensor) -> Tensor:
        """The zones (N,) int64 that gazes (N, 2), radians, lie in."""
        row, column = (
            torch.bucketize(angle.contiguous(), angle.new_tensor(_midpoints(getattr(self, axis))), right=True)
            for axis, angle in zip(AXES, pitchyaw.unbind(1), strict=True)
        )
        return row * len(self.yaw) + column

    def centres(self) -> Tensor:
        """The centres (zones, 2) as float32 (pitch, yaw), radians, by rising number."""
        return torch.cartesian_prod(torch.tensor(self.pitch), torch.tensor(self.yaw))

    def to_json(self) -> dict[str, Any]:
        return {axis: list(getattr(self, axis)) for axis in AXES}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Zones:
        return cls(*(tuple(fields[axis]) for axis in AXES))


def _shares(n: int) -> Tensor:
    """Where the middles of `n` equal parts of 0 to 1 lie."""
    return (torch.arange(n, dtype=torch.float64) + 0.5) / n


def _midpoints(centres: Sequence[float]) -> list[float]:
    return [(low + high) / 2 for low, high in pairwise(centres)]


class ZonePredictor(nn.Module):
    """A classifier of zones as a gaze model: the centre of the zone it finds likeliest."""

    centres: Tensor

    def __init__(self, classifier: nn.Module, zones: Zones) -> None:
        super().__init__()
        self.classifier = classifier
        self.register_buffer("centres", zones.centres(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, 2) pitch and yaw in radians."""
        return self.centres[self.classifier(images).argmax(1)]


def as_gaze_model(network: nn.Module, zones: Zones | None) -> nn.Module:
    """The network itself, or, for a classifier of `zones`, its predictor."""
    return network if zones is None else ZonePredictor(network, zones)
