"""What a reader of a published format gives: one image after another, with its gaze, and what it says of itself.

A reader is a module with a constant `FORMAT` and one line in `models.datasets.formats`; it imports from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.datasets.base import MIN_SIZE, MOST_RADIANS


class FormatError(ValueError):
    """The files are not what their format promises; one sentence names the file, the row, and what to do."""


@dataclass(frozen=True)
class Sample:
    """One image as read.

    Attributes:
        image: uint8 (H, W) grey or (H, W, 3) RGB, whatever order of colours the files have.
        pitch, yaw: radians, in the convention of `models.gaze`.
        subject: the person, unique within the source, as the source names it.
        where: file and row, for error messages ("p00/day01.mat, row 12 (right eye)"); rows count from 0.
        head: pitch and yaw of the head, radians, where the source has it.
        group: what a split keeps together, where that is not the subject.

    Raises:
        FormatError: for an image of another type or below 16 px, angles that are not finite or cannot be radians, and
            an empty subject, with `where`.
    """

    image: NDArray[np.uint8]
    pitch: float
    yaw: float
    subject: str
    where: str
    head: tuple[float, float] | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        shape = self.image.shape
        if self.image.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise FormatError(f"{self.where}: the image is {self.image.dtype} {shape}, not uint8 (H, W) or (H, W, 3).")
        if min(shape[:2]) < MIN_SIZE:
            raise FormatError(f"{self.where}: the image is {shape[0]} x {shape[1]} px; {MIN_SIZE} px is the least.")
        self._check("gaze", self.pitch, self.yaw)
        if self.head is not None:
            self._check("head", *self.head)
        if not self.subject:
            raise FormatError(f"{self.where}: no subject is named.")

    def _check(self, what: str, pitch: float, yaw: float) -> None:
        if not (math.isfinite(pitch) and math.isfinite(yaw)):
            raise FormatError(f"{self.where}: the {what} is not finite ({pitch}, {yaw}); remove or mend this row.")
        if abs(pitch) > MOST_RADIANS[0] or abs(yaw) > MOST_RADIANS[1]:
            raise FormatError(
                f"{self.where}: the {what} ({pitch:.4g}, {yaw:.4g}) lies beyond +-pi/2 and +-pi: angles must be "
                "radians, these look like degrees."
            )


@dataclass(frozen=True)
class Format:
    """One published format.

    Attributes:
        kind: in commands and records ("mpiigaze").
        title, citation: in words.
        licence: the terms in one line, as published; what nobody has verified is left out.
        layout: what the root must hold, in one line, for help and errors.
        samples: root, and the options where there are any, to the samples in a fixed order; it streams, and raises
            FormatError for what is missing or damaged (a `Sample` itself refuses what is out of range).
        count: the same arguments to the number of samples there should be, from headers and label rows, cheaply; it
            raises FormatError that names missing files, the first few and how many.
        notes: the same arguments to sentences for whoever uses the data, such as what is left out; kept in records.
        sign_pitch, sign_yaw: what the stored angles were multiplied by to come to our convention.
        options: frozen dataclass of what may be chosen (which eye, which crop), if anything: fields have defaults, are
            of type str, int, float, bool, Literal or None-able of these, and explain themselves in
            `field(metadata={"help": ...})`.
        root_is_file: whether the root is a file, not a folder.
    """

    kind: str
    title: str
    citation: str
    licence: str
    layout: str
    samples: Callable[..., Iterator[Sample]]
    count: Callable[..., int]
    notes: Callable[..., list[str]] | None = None
    sign_pitch: int = 1
    sign_yaw: int = 1
    options: type[Any] | None = None
    root_is_file: bool = False
