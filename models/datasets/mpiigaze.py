"""MPIIGaze, normalised: one MATLAB file per person and day, with left and right eyes of 60 x 36 px, grey.

Right eyes are mirrored, as in the published evaluation: the image, and the sign of both yaws.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.datasets import camera, matlab, reading
from models.datasets.samples import Format, FormatError, Sample

LISTS = Path("Evaluation Subset", "sample list for eye image")
SIDES = ("left", "right")
COLUMNS = {"image": (36, 60), "gaze": (3,), "pose": (3,)}

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
    for path, listed in _days(root, options.subset):
        name = f"{path.parent.name}/{path.name}"
        files, eyes = _eyes(path)
        everything = [(file, side, f"{name}, row {row}") for file, row in files.items() for side in SIDES]
        for file, side, where in everything if listed is None else listed:
            if file not in files:
                raise FormatError(f"{where}: {name} has no image {file!r}.")
            image, (pitch, yaw), (head_pitch, head_yaw) = (column[files[file]] for column in eyes[side])
            if side == "right":
                image, yaw, head_yaw = image[:, ::-1], -yaw, -head_yaw
            if options.eye in ("both", side):
                read, head = partial(np.ascontiguousarray, image), (head_pitch, head_yaw)
                yield Sample(read, pitch, yaw, path.parent.name, f"{where} ({side} eye)", head)


def _days(root: Path, subset: str) -> Iterator[tuple[Path, list[Row] | None]]:
    """Files of days, each with the rows that are listed for it (None: all)."""
    normalised = root / "Data" / "Normalized"
    if subset == "all":
        yield from ((path, None) for path in sorted(normalised.glob("p??/day*.mat")))
        return
    days: dict[Path, list[Row]] = defaultdict(list)
    for path in sorted((root / LISTS).glob("p??.txt")):
        for where, words in reading.lines(path, f"{LISTS}/{path.name}"):
            day, _, file = words[0].partition("/")
            if len(words) != 2 or words[1] not in SIDES or not file:
                raise FormatError(f'{where}: {" ".join(words)!r} is not of the form "day01/0001.jpg left".')
            days[reading.inside(normalised / path.stem, f"{day}.mat", where)].append((file, words[1], where))
    reading.check_files(root, {path: rows[0][2] for path, rows in days.items()})
    yield from sorted(days.items())


def _eyes(path: Path) -> tuple[dict[str, int], dict[str, tuple[Any, Any, Any]]]:
    """The rows of the files, and for either side images (N, 36, 60), gazes (N, 2) and heads (N, 2)."""
    shapes = {f"data.{side}.{name}": shape for side in SIDES for name, shape in COLUMNS.items()}
    content = matlab.load(path, "filenames", *shapes)
    names = content["filenames"] if isinstance(content["filenames"], list) else [content["filenames"]]
    files = {str(name).strip(): row for row, name in enumerate(names)}
    columns = iter(reading.columns(content, shapes, path, rows=len(files)))
    eyes = {
        side: (image, reading.pitchyaw(gaze).tolist(), camera.heads(camera.rotations(pose)).tolist())
        for side, image, gaze, pose in zip(SIDES, columns, columns, columns, strict=True)
    }
    return files, eyes


FORMAT = Format(
    kind="mpiigaze",
    title="MPIIGaze, normalised eyes (.mat)",
    citation="X. Zhang, Y. Sugano, M. Fritz, A. Bulling: Appearance-based gaze estimation in the wild. CVPR 2015.",
    licence="CC BY-NC-SA 4.0",
    layout='a folder with Data/Normalized/p00/day01.mat and so on, and "Evaluation Subset" beside Data for the subset',
    samples=samples,
    options=MPIIGazeOptions,
)
