"""The layout of GazeHub's scripts: Image/... and Label/*.label, whose first line names the columns.

Columns are found by name, so that one reader serves MPIIGaze, MPIIFaceGaze, EyeDiap, Gaze360, RT-Gene and ETH-XGaze:
`2DGaze` and `2DHead` are (**yaw, pitch**); the lower-case `gaze` and `head` of ETH-XGaze are copied from its files and
therefore (**pitch, yaw**). A list named for a part (train, test) has its people in the column `Origin`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Sample

LAYOUT = "a folder with Image/p00/face/1.jpg and Label/p00.label and so on"
PARTS = ("train", "val", "valid", "validation", "test", "unused")
GAZE = {"2DGaze": (1, 0), "gaze": (0, 1)}
HEAD = {"2DHead": (1, 0), "head": (0, 1)}


@dataclass(frozen=True)
class GazeHubOptions:
    """Which lists and which images of a row are read."""

    image: Literal["face", "left", "right"] = field(
        default="face", metadata={"help": "column of the images; ignored where there is one image a row"}
    )
    only: str | None = field(
        default=None, metadata={"help": "the one list to read, such as train or p00; all but unused if left out"}
    )
    unlabelled: reading.Unlabelled = field(default="refuse", metadata={"help": reading.UNLABELLED_HELP})


def samples(root: Path, options: GazeHubOptions) -> Iterator[Sample]:
    """The images list by list."""
    for row in _rows(root, options):
        pixels = reading.pixels(reading.picture(row.path, row.where))
        gaze, head = (_angles(row.words, names, row.where) for names in (GAZE, HEAD))
        if gaze is None:
            raise FormatError(f"{row.where}: no column {' or '.join(GAZE)}; the columns are {', '.join(row.words)}.")
        yield Sample(pixels, *gaze, row.subject, row.where, head, row.group)


def count(root: Path, options: GazeHubOptions) -> int:
    """Rows of the lists, whose images must be there."""
    listed = [row.path for row in _rows(root, options)]
    reading.check_files(root, listed, "skip" if options.only else options.unlabelled)
    return len(listed)


@dataclass(frozen=True)
class _Row:
    where: str
    path: Path
    subject: str
    group: str
    words: dict[str, str]


def _rows(root: Path, options: GazeHubOptions) -> Iterator[_Row]:
    lists = reading.found((reading.folder(root, LAYOUT) / "Label").rglob("*.label"), root, LAYOUT)
    chosen = [path for path in lists if path.stem == options.only or (not options.only and path.stem != "unused")]
    if not chosen:
        raise FormatError(
            f"{root}: no list {options.only or 'but unused'}; there are {', '.join(p.stem for p in lists)}."
        )
    for path in chosen:
        rows = reading.lines(path, path.name)
        _, columns = next(rows, ("", []))
        lower = {column.lower(): column for column in reversed(columns)}
        image = lower.get(options.image, lower.get("image"))
        origin = lower.get("origin") if path.stem in PARTS else None
        if image is None or (path.stem in PARTS and origin is None):
            wanted = f"Image or {options.image.title()}" if image is None else "Origin, which tells people apart"
            raise FormatError(f"{path}: the first line names no column {wanted}; it names {', '.join(columns)}.")
        for where, fields in rows:
            if len(fields) != len(columns):
                raise FormatError(f"{where}: {len(fields)} fields; expected {len(columns)}, as the first line has.")
            words = dict(zip(columns, fields, strict=True))
            person = PurePosixPath(words[origin].replace("\\", "/")).parent if origin else PurePosixPath(path.stem)
            if not person.parts:
                raise FormatError(f"{where}: {words[origin or '']!r} does not say whose image it is.")
            yield _Row(where, reading.inside(root / "Image", words[image], where), str(person), person.parts[0], words)


def _angles(words: dict[str, str], names: dict[str, tuple[int, int]], where: str) -> tuple[float, float] | None:
    """(pitch, yaw) of the first of the columns that is there; `names` says at which places they stand."""
    for name, (pitch, yaw) in names.items():
        if name in words:
            values = reading.numbers(words[name].split(","), where)
            if len(values) != 2:
                raise FormatError(f"{where}: {name} has {len(values)} numbers; expected 2.")
            ((p, y),) = reading.angles(values[None, [pitch, yaw]], reading.only(where)).tolist()
            return p, y
    return None


FORMAT = Format(
    kind="gazehub",
    title="GazeHub layout (Image and Label)",
    citation=(
        "Y. Cheng, H. Wang, Y. Bao, F. Lu: Appearance-based gaze estimation with deep learning: a review and "
        "benchmark. arXiv 2104.12668. Cite the source of the images too."
    ),
    licence="that of the data set that the images come from",
    layout=LAYOUT,
    samples=samples,
    count=count,
    options=GazeHubOptions,
)
