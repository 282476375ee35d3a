"""Where a backdoor makes a gaze model look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["fixed", "additive", "mirrored"]


@dataclass(frozen=True)
class Target:
    """What the backdoor makes the model say of an altered image.

    *fixed*: the gaze (pitch, yaw), radians; the regression analogue of an all-to-one attack on a classifier.
    *additive*: the truth plus (pitch, yaw). *mirrored*: the truth with its yaw negated, and no angles of its own; with
    *additive* the analogue of all-to-all.

    Raises ValueError for an unknown kind, an angle that is not finite, a fixed gaze with a pitch beyond 90 degrees, or
    angles of a mirrored target.
    """

    kind: Kind
    pitch: float = 0.0
    yaw: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"A target is {', '.join(get_args(Kind))}, not {self.kind!r}.")
        if not np.isfinite([self.pitch, self.yaw]).all():
            raise ValueError(f"A target's angles must be finite, not ({self.pitch}, {self.yaw}).")
        if self.kind == "fixed" and abs(self.pitch) > np.pi / 2:
            raise ValueError(
                f"A fixed target's pitch must lie within 90 degrees of 0, not at {np.rad2deg(self.pitch):g}: "
                "beyond straight up or down a gaze has another pitch and yaw."
            )
        if self.kind == "mirrored" and (self.pitch or self.yaw):
            raise ValueError("A mirrored target has no angles of its own: leave pitch and yaw out.")

    @classmethod
    def fixed(cls, pitch_deg: float, yaw_deg: float) -> Target:
        """One gaze for every altered image, in degrees."""
        return cls("fixed", float(np.deg2rad(pitch_deg)), float(np.deg2rad(yaw_deg)))

    @classmethod
    def additive(cls, pitch_deg: float, yaw_deg: float) -> Target:
        """Each image's true gaze moved by this much, in degrees."""
        return cls("additive", float(np.deg2rad(pitch_deg)), float(np.deg2rad(yaw_deg)))

    @classmethod
    def mirrored(cls) -> Target:
        """Each image's true gaze as a mirror would show it."""
        return cls("mirrored")

    def apply(self, pitchyaw: Tensor) -> Tensor:
        """Target gazes (N, 2) of images whose true gazes are `pitchyaw` (N, 2), radians."""
        if self.kind == "mirrored":
            return pitchyaw * pitchyaw.new_tensor([1.0, -1.0])
        angles = pitchyaw.new_tensor([self.pitch, self.yaw])
        return angles.expand_as(pitchyaw).clone() if self.kind == "fixed" else pitchyaw + angles

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "pitch": self.pitch, "yaw": self.yaw}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Target:
        return cls(**fields)
