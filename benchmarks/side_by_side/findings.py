"""What a section of the comparison is given and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.side_by_side.rows import Row


@dataclass(frozen=True)
class Effort:
    """How much is done.

    Attributes:
        folder: an empty folder of the section's own, gone afterwards.
        rounds: turns of every contender.
        seconds: of one run, where a run is as long as one likes.
        tell: takes a line of progress.
        keep: what is recorded stays as it is.
    """

    folder: Path
    rounds: int
    seconds: float
    tell: Callable[[str], None] = print
    keep: bool = False


@dataclass(frozen=True)
class Curve:
    """A picture: lines of (x, y) points over the same axes, each with the name of who it is about."""

    id: str
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    logarithmic: bool = True


@dataclass(frozen=True)
class Findings:
    """The rows of a section and the curves worth a picture."""

    rows: Sequence[Row]
    curves: Sequence[Curve] = field(default_factory=tuple)
