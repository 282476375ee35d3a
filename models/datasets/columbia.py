"""Columbia gaze data set: large photographs, with the angles in degrees in their names.

In "0001_2m_-15P_10V_-5H.jpg", P is the yaw of the head, V and H are the target's elevation (up is positive) and
azimuth. **Which side a positive H is on is not settled here**: compare the eyes with the arrows on the contact sheet,
and import with yaw flipped if they point the wrong way. Faces are not found: a square in the middle is cut out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Pixels, Sample

NAME = re.compile(r"(\d+)_2m_(-?\d+)P_(-?\d+)V_(-?\d+)H")


@dataclass(frozen=True)
class ColumbiaOptions:
    """What is cut out of a photograph."""

    size: int = field(default=224, metadata={"help": "side of the images, px"})
    share: float = field(default=0.6, metadata={"help": "side of the square in the middle, as a share of the height"})

    def __post_init__(self) -> None:
        reading.check_size(self.size)
        if not 0 < self.share <= 1:
            raise ValueError(f"The share of the height must be above 0 and at most 1, not {self.share}.")


def samples(root: Path, options: ColumbiaOptions) -> Iterator[Sample]:
    """The photographs in the order of their names."""
    for path in sorted(root.glob("[0-9]*/*.jpg")):
        if not (match := NAME.fullmatch(path.stem)) or match[1] != path.parent.name:
            raise FormatError(f"{path}: the name says no angles; expected {path.parent.name}_2m_-15P_10V_-5H.jpg.")
        head, pitch, yaw = (math.radians(int(match[place])) for place in (2, 3, 4))
        where = f"{path.parent.name}/{path.name}"
        yield Sample(partial(_middle, path, options), pitch, yaw, match[1], where, (0.0, head), file=path)


def _middle(path: Path, options: ColumbiaOptions) -> Pixels:
    least = math.ceil(options.size / options.share)
    photograph = reading.picture(path, at_least=(least, least))
    side = options.share * photograph.height
    middle = (photograph.width / 2, photograph.height / 2, side, side)
    return reading.window(photograph, middle, (options.size, options.size))


FORMAT = Format(
    kind="columbia",
    title="Columbia gaze data set, photographs",
    citation=(
        "B. A. Smith, Q. Yin, S. K. Feiner, S. K. Nayar: Gaze locking: passive eye contact detection for human-object "
        "interaction. UIST 2013."
    ),
    licence="non-commercial, to be cited",
    layout="a folder with 0001/0001_2m_-15P_10V_-5H.jpg and so on",
    samples=samples,
    options=ColumbiaOptions,
)
