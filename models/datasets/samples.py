"""What a reader of a published format gives: one sample after another, and what the format says of itself.

A reader is a module with a constant `FORMAT` and one line in `models.datasets.formats`; it imports from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.datasets.base import MIN_SIZE, MOST_RADIANS

Pixels = NDArray[np.uint8]


class FormatError(ValueError):
    """The files are not what their format promises; one sentence names the file, the row, and what to do."""


@dataclass(frozen=True)
class Sample:
    """One image and its gaze. The image is read when it is first asked for: to go through the labels alone is cheap.

    Attributes:
        read: reads the image, uint8 (H, W) grey or (H, W, 3) RGB, whatever order of colours the files have. It may use
            what the format holds open until its next sample is asked for; what it raises need not say where.
        pitch, yaw: radians, in the convention of `models.gaze`.
        subject: the person, unique within the source, as the source names it.
        where: file and row, for error messages ("p00/day01.mat, row 12 (right eye)"); rows count from 0.
        head: pitch and yaw of the head, radians, where the source has it.
        group: what a split keeps together, where that is not the subject.
        file: of the image, if it has one of its own: an import names those that are missing before it reads any.

    Raises:
        FormatError: for angles that are not finite or cannot be radians, and an empty subject, with `where`.
    """

    read: Callable[[], Pixels]
    pitch: float
    yaw: float
    subject: str
    where: str
    head: tuple[float, float] | None = None
    group: str | None = None
    file: Path | None = None

    def __post_init__(self) -> None:
        self._check("gaze", self.pitch, self.yaw)
        if self.head is not None:
            self._check("head", *self.head)
        if not self.subject:
            raise FormatError(f"{self.where}: no subject is named.")

    @cached_property
    def image(self) -> Pixels:
        """(H, W) or (H, W, 3). Raises FormatError, with `where`, when it is damaged, of another type or below 16 px."""
        try:
            image = self.read()
        except (FormatError, OSError) as error:
            raise FormatError(f"{self.where}: {error}") from error
        shape = image.shape
        if image.dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise FormatError(f"{self.where}: the image is {image.dtype} {shape}, not uint8 (H, W) or (H, W, 3).")
        if min(shape[:2]) < MIN_SIZE:
            raise FormatError(f"{self.where}: the image is {shape[0]} x {shape[1]} px; {MIN_SIZE} px is the least.")
        return image

    def _check(self, what: str, pitch: float, yaw: float) -> None:
        if not (math.isfinite(pitch) and math.isfinite(yaw)):
            raise FormatError(
                f"{self.where}: the {what} ({pitch:.4g}, {yaw:.4g}) is no direction: the label is not finite, or "
                "0 0 0; mend or remove the row."
            )
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
        samples: root, and the options where there are any, to the samples in a fixed order; none where there is nothing
            of this format. It streams, is gone through twice, first without reading an image, and raises FormatError
            for what is missing or damaged (a `Sample` itself refuses what is out of range).
        notes: the same arguments to sentences for whoever uses the data, such as what is left out; kept in records.
        sign_pitch, sign_yaw: what the stored angles were multiplied by to come to our convention.
        options: frozen dataclass of what may be chosen (which eye, which crop), if anything: fields have defaults, are
            of type str, int, float, bool, Literal or None-able of these, and explain themselves in
            `field(metadata={"help": ...})`.
        root_is_file: whether the root is a file, not a folder.
        labels_every_image: whether pictures beside those of the samples are refused, unless one chooses to skip them.
    """

    kind: str
    title: str
    citation: str
    licence: str
    layout: str
    samples: Callable[..., Iterator[Sample]]
    notes: Callable[..., list[str]] | None = None
    sign_pitch: int = 1
    sign_yaw: int = 1
    options: type[Any] | None = None
    root_is_file: bool = False
    labels_every_image: bool = False
