"""MPIIGaze, normalised: one MATLAB file per person and day, with left and right eyes of 60 x 36 px, grey.

Right eyes are mirrored, as in the published evaluation: the image, and the sign of both yaws.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.datasets import camera, matlab, reading
from models.datasets.samples import Format, FormatError, Sample

LAYOUT = 'a folder with Data/Normalized/p00/day01.mat and so on, and "Evaluation Subset" beside Data for the subset'
LISTS = Path("Evaluation Subset", "sample list for eye image")
MIRRORED = np.array([1.0, -1.0])
SIDES = ("left", "right")

Row = tuple[str, str, str]
"""File name within the day, side, where."""


@dataclass(frozen=True)
class MPIIGazeOptions:
    """Which eyes are read."""

    subset: Literal["all", "evaluation"] = field(
        default="all", metadata={"help": "all eyes, or those of the published evaluation subset (3000 a person)"}
    )
    eye: Literal["both", "left", "right"] = field(default="both", metadata={"help": "which eyes"})


def samples(root: Path, options: MPIIGazeOptions) -> Iterator[Sample]:
    """The eyes day by day; in a day, as the file or the evaluation list has them."""
    for path, listed in _days(root, options):
        person, name = path.parent.name, f"{path.parent.name}/{path.name}"
        content = matlab.load(path, "data", "filenames")
        files = {file: row for row, file in enumerate(_files(content))}
        eyes = {side: _eyes(content["data"], side, len(files), name) for side in SIDES}
        everything = [(file, side, f"{name}, row {row}") for file, row in files.items() for side in SIDES]
        for file, side, where in everything if listed is None else listed:
            if options.eye not in ("both", side):
                continue
            if file not in files:
                raise FormatError(f"{where}: {name} has no image {file!r}.")
            image, gaze, head = (column[files[file]] for column in eyes[side])
            if side == "right":
                image, gaze, head = np.ascontiguousarray(image[:, ::-1]), gaze * MIRRORED, head * MIRRORED
            (pitch, yaw), pose = gaze.tolist(), tuple(head.tolist())
            yield Sample(image, pitch, yaw, person, f"{where} ({side} eye)", pose)


def count(root: Path, options: MPIIGazeOptions) -> int:
    """Twice the file names of every day, or the rows of the evaluation lists; no image is read."""
    sides: list[str] = []
    for path, listed in _days(root, options):
        pairs = len(_files(matlab.load(path, "filenames"))) if listed is None else 0
        sides += [side for _, side, _ in listed or ()] + [*SIDES] * pairs
    return sum(options.eye in ("both", side) for side in sides)


def _days(root: Path, options: MPIIGazeOptions) -> Iterator[tuple[Path, list[Row] | None]]:
    """Files of days, each with the rows that are listed for it (None: all)."""
    normalised = reading.folder(root, LAYOUT) / "Data" / "Normalized"
    if options.subset == "all":
        yield from ((path, None) for path in reading.found(normalised.glob("p??/day*.mat"), root, LAYOUT))
        return
    days: dict[Path, list[Row]] = defaultdict(list)
    for path in reading.found((root / LISTS).glob("p??.txt"), root, LAYOUT):
        for where, words in reading.lines(path, f"{LISTS}/{path.name}"):
            day, _, file = words[0].partition("/")
            if len(words) != 2 or words[1] not in SIDES or not file:
                raise FormatError(f'{where}: {" ".join(words)!r} is not of the form "day01/0001.jpg left".')
            days[reading.inside(normalised / path.stem, f"{day}.mat", where)].append((file, words[1], where))
    reading.check_files(root, list(days))
    yield from sorted(days.items())


def _files(content: dict[str, Any]) -> list[str]:
    names = content["filenames"]
    return [str(name).strip() for name in (names if isinstance(names, list) else [names])]


def _eyes(data: Any, side: str, n: int, name: str) -> tuple[Any, Any, Any]:
    try:
        image, gaze, pose = (data[side][key] for key in ("image", "gaze", "pose"))
    except (KeyError, TypeError, IndexError) as error:
        raise FormatError(f"{name}: data.{side} lacks image, gaze or pose.") from error
    image = image if isinstance(image, np.ndarray) else np.zeros(0)
    images = image[None] if image.ndim == 2 and n == 1 else image
    vectors, turns = (reading.array_of(a, (3,), f"{name}, data.{side}") for a in (gaze, pose))
    if images.dtype != np.uint8 or images.ndim != 3 or not len(images) == len(vectors) == len(turns) == n:
        raise FormatError(
            f"{name}: data.{side} has images {images.dtype} {images.shape}, {len(vectors)} gazes and {len(turns)} "
            f"poses for {n} file names; expected uint8 ({n}, 36, 60) and {n} of each."
        )
    where = reading.row_of(name, f" ({side} eye)")
    heads = camera.heads(camera.rotations(reading.finite(turns, where, "pose")))
    return np.ascontiguousarray(images), reading.gazes(vectors, where), heads


FORMAT = Format(
    kind="mpiigaze",
    title="MPIIGaze, normalised eyes (.mat)",
    citation="X. Zhang, Y. Sugano, M. Fritz, A. Bulling: Appearance-based gaze estimation in the wild. CVPR 2015.",
    licence="CC BY-NC-SA 4.0",
    layout=LAYOUT,
    samples=samples,
    count=count,
    options=MPIIGazeOptions,
)
