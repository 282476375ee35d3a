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
from pathlib import Path, PurePosixPath
from typing import Literal

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Sample

LAYOUT = "a folder with Image/p00/face/1.jpg and Label/p00.label and so on"
PART = re.compile(r"(train|val|valid|validation|test|unused)(?:[\d_-].*)?")
GAZE = {"2DGaze": (1, 0), "gaze": (0, 1)}
HEAD = {"2DHead": (1, 0), "head": (0, 1)}


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
    unlabelled: reading.Unlabelled = field(default="refuse", metadata={"help": reading.UNLABELLED_HELP})


def samples(root: Path, options: GazeHubOptions) -> Iterator[Sample]:
    """The images list by list."""
    for row in _rows(root, options):
        pixels = reading.pixels(reading.picture(row.path, row.where))
        gaze = _angles(row.words, GAZE, row.where)
        head = None if HEAD.keys().isdisjoint(row.words) else _angles(row.words, HEAD, row.where)
        yield Sample(pixels, *gaze, str(row.person), row.where, head, row.person.parts[0])


def count(root: Path, options: GazeHubOptions) -> int:
    """Rows of the lists, whose images must be there, each once."""
    listed: dict[Path, str] = {}
    for row in _rows(root, options):
        if row.path in listed:
            raise FormatError(f"{row.where}: {row.path} is listed before, in {listed[row.path]}; read one list (only).")
        listed[row.path] = row.where
    reading.check_files(root, list(listed), "skip" if options.only else options.unlabelled)
    return len(listed)


@dataclass(frozen=True)
class _Row:
    where: str
    path: Path
    person: PurePosixPath
    words: dict[str, str]


def _rows(root: Path, options: GazeHubOptions) -> Iterator[_Row]:
    images = reading.folder(root / "Image", LAYOUT)
    folders = {entry.name for entry in images.iterdir()}
    for path, name in _lists(root, options.only):
        rows = reading.lines(path, name)
        _, columns = next(rows, ("", []))
        part = PART.fullmatch(path.stem)
        image, origin = _columns(path, columns, options.image, is_of_a_part=part is not None)
        for where, fields in rows:
            if len(fields) != len(columns):
                raise FormatError(f"{where}: {len(fields)} fields; expected {len(columns)}, as the first line has.")
            words = dict(zip(columns, fields, strict=True))
            file = reading.inside(images, words[image], where).relative_to(images)
            beneath = images / part[1] if part and file.parts[0] not in folders else images
            person = _person(words[origin], where) if origin else PurePosixPath(path.stem)
            yield _Row(where, beneath / file, person, words)


def _lists(root: Path, only: str | None) -> list[tuple[Path, str]]:
    """The lists to be read, with their names below Label."""
    labels = root / "Label"
    lists = {
        path.relative_to(labels).with_suffix("").as_posix(): path
        for path in reading.found(labels.rglob("*.label"), root, LAYOUT)
    }
    chosen = {name: path for name, path in lists.items() if not only or only in (name, path.stem)}
    if not chosen:
        raise FormatError(f"{root}: no list {only}; there are {', '.join(lists)}.")
    return [(path, f"{name}.label") for name, path in chosen.items() if only or path.stem != "unused"]


def _columns(path: Path, columns: list[str], image: str, is_of_a_part: bool) -> tuple[str, str | None]:
    """The columns of the images and, in the list of a part, of their origin."""
    lower = {column.lower(): column for column in reversed(columns)}
    column, origin = lower.get(image, lower.get("image")), lower.get("origin")
    wanted = None
    if column is None:
        wanted = f"Image or {image.title()}"
    elif is_of_a_part and origin is None:
        wanted = "Origin, which tells people apart"
    elif GAZE.keys().isdisjoint(columns):
        wanted = f"{' or '.join(GAZE)}"
    if column is None or wanted:
        raise FormatError(
            f"{path}: the first line names no column {wanted}; it names {', '.join(columns)}; read another list (only)."
        )
    return column, origin if is_of_a_part else None


def _person(origin: str, where: str) -> PurePosixPath:
    """The folder of the image before it was cropped, or the name of a person alone."""
    path = PurePosixPath(origin.replace("\\", "/"))
    if not (person := path.parent if path.suffix else path).name:
        raise FormatError(f"{where}: {origin!r} does not say whose image it is.")
    return person


def _angles(words: dict[str, str], names: dict[str, tuple[int, int]], where: str) -> tuple[float, float]:
    """(pitch, yaw) of the first of the columns that is there; `names` says at which places they stand."""
    name = next(name for name in names if name in words)
    values = reading.numbers(words[name].split(","), where).tolist()
    if len(values) != 2:
        raise FormatError(f"{where}: {name} has {len(values)} numbers; expected 2.")
    pitch, yaw = names[name]
    return values[pitch], values[yaw]


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
