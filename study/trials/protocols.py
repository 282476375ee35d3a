"""What a trial of each protocol is made of: its places and the pictures at each of them.

`left` and `right` are places on the screen; the first and the second interval of `ifc`; and in `yes_no` trials, which
have one place, left stands for "altered" and right for "not altered".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEFT: Final = "left"
RIGHT: Final = "right"


@dataclass(frozen=True)
class Layout:
    """The places that have pictures, and how many pictures each has."""

    sides: tuple[str, ...] = (LEFT, RIGHT)
    frames: int = 1

    def has(self, side: str, frame: int) -> bool:
        return side in self.sides and 0 <= frame < self.frames

    def is_altered(self, side: str, frame: int, *, altered_side: str, altered_frame: int) -> bool:
        """Whether this picture is the altered one. Where a place has two, the other one there is the clean one."""
        return side == altered_side and (self.frames == 1 or frame == altered_frame)


LAYOUTS: Final = {
    "afc": Layout(),
    "ifc": Layout(),
    "flicker": Layout(frames=2),
    "oddity": Layout(frames=2),
    "yes_no": Layout(sides=(LEFT,)),
}
