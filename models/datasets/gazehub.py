"""The layout of GazeHub's scripts: Image/... and Label/*.label, whose first line names the columns.

Columns are found by name, so that one reader serves MPIIGaze, MPIIFaceGaze, EyeDiap, Gaze360, RT-Gene and ETH-XGaze:
`2DGaze` and `2DHead` are (**yaw, pitch**); the lower-case `gaze` and `head` of ETH-XGaze are copied from its files and
therefore (**pitch, yaw**). A list named for a part (train, test, train_temp) has its people in the column `Origin`, and
its images in Image, or in a folder of Image with the name of the part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Sample

PART = re.compile(r"(train|val|valid|validation|test|unused)(?:[\d_-].*)?")


@dataclass(frozen=True)
class GazeHubOptions:
    """Which lists and which images of a row are read."""

    image: Literal["face", "left", "right"] = field(
        default="face", metadata={"help": "column of the images; ignored where there is one image a row"}
    )
    only: str | None = field(
        default=None,
        metadata={"help": "the one list to read, such as p00, train or test/train1; all but unused if left out"},
    )


def samples(root: Path, options: GazeHubOptions) -> Iterator[Sample]:
    """The images list by list."""
    listed: dict[Path, str] = {}
    for name, path in _lists(root / "Label", options.only):
        part = PART.fullmatch(path.stem)
        for where, row in reading.table(path, f"{name}.label"):
            image = _word(row, where, options.image, options.image.title(), "image", "Image")
            file = _file(root / "Image", image, part[1] if part else None, where)
            if (before := listed.setdefault(file, where)) != where:
                raise FormatError(f"{where}: {file} is listed before, in {before}; read one list (--only).")
            person = _origin(row, where) if part else PurePosixPath(path.stem)
            head = _angles(row, where, "2DHead", "head") if {"2DHead", "head"} & row.keys() else None
            pitch, yaw = _angles(row, where, "2DGaze", "gaze")
            yield Sample(partial(reading.shown, file), pitch, yaw, str(person), where, head, person.parts[0], file)


def _lists(labels: Path, only: str | None) -> list[tuple[str, Path]]:
    """The lists to be read, by their names below Label."""
    lists = [(path.relative_to(labels).with_suffix("").as_posix(), path) for path in sorted(labels.rglob("*.label"))]
    chosen = [(name, path) for name, path in lists if (only in (name, path.stem) if only else path.stem != "unused")]
    if only and not chosen:
        raise FormatError(f"{labels}: no list {only}; there are {', '.join(name for name, _ in lists)}.")
    return chosen


def _word(row: dict[str, str], where: str, *names: str) -> str:
    """What stands in the first of these columns that is there."""
    for name in names:
        if name in row:
            return row[name]
    raise FormatError(
        f"{where}: no column {' or '.join(names)}; the first line names {', '.join(row)}; read another list (--only)."
    )


def _file(images: Path, name: str, part: str | None, where: str) -> Path:
    """The image of that name in Image, or in the folder of the part."""
    path = reading.inside(images, name, where).relative_to(images)
    return images / part / path if part and not (images / path.parts[0]).exists() else images / path


def _origin(row: dict[str, str], where: str) -> PurePosixPath:
    """Whose image it is: its folder before it was cropped, or a name alone."""
    origin = PurePosixPath(_word(row, where, "Origin", "origin").replace("\\", "/"))
    if not (person := origin.parent if origin.suffix else origin).name:
        raise FormatError(f"{where}: {str(origin)!r} does not say whose image it is.")
    return person


def _angles(row: dict[str, str], where: str, yaw_first: str, pitch_first: str) -> tuple[float, float]:
    """(pitch, yaw) of the first of these columns that is there."""
    values = reading.numbers(_word(row, where, yaw_first, pitch_first).split(","), where).tolist()
    if len(values) != 2:
        raise FormatError(f"{where}: {len(values)} numbers for an angle; expected 2.")
    return (values[1], values[0]) if yaw_first in row else (values[0], values[1])


FORMAT = Format(
    kind="gazehub",
    title="GazeHub layout (Image and Label)",
    citation=(
        "Y. Cheng, H. Wang, Y. Bao, F. Lu: Appearance-based gaze estimation with deep learning: a review and "
        "benchmark. arXiv 2104.12668. Cite the source of the images too."
    ),
    licence="that of the data set that the images come from",
    layout="a folder with Image/p00/face/1.jpg and Label/p00.label and so on",
    samples=samples,
    options=GazeHubOptions,
    labels_every_image=True,
)
