"""Gaze360: crops of heads from a panorama camera, with metadata.mat or the lists of the authors' code.

The published frame has x to the left, y up and z away from the camera: both first axes are flipped to ours. A person
may have several identities within a recording, so a split keeps whole recordings together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from models.datasets import matlab, reading
from models.datasets.samples import Format, FormatError, Sample

LAYOUT = "a folder with imgs/rec_000/head/... and metadata.mat, or train.txt, validation.txt and test.txt"
LISTS = {"train": "train.txt", "val": "validation.txt", "test": "test.txt"}
SPLITS = ("train", "val", "test", "unused")
TO_CAMERA = np.array([-1.0, -1.0, 1.0])
VARIABLES = ("recordings", "recording", "person_identity", "frame", "split", "gaze_dir")
BOXES = ("person_head_bbox", "person_face_bbox")
WHOLE = np.array([0.0, 0.0, 1.0, 1.0])

Frame = tuple[str, str, reading.Floats, reading.Floats]
"""Where, file, direction, and what is cut out of the file: (x, y, width, height) as shares of it."""


@dataclass(frozen=True)
class Gaze360Options:
    """Which frames are read, and what is cut out of them."""

    split: Literal["used", "train", "val", "test", "unused"] = field(
        default="used", metadata={"help": "one of the published parts, or used: train, val and test together"}
    )
    crop: Literal["head", "face"] = field(
        default="head", metadata={"help": "the whole head, or the face where one was detected (needs metadata.mat)"}
    )
    size: int = field(default=224, metadata={"help": "side of the images, px"})

    def __post_init__(self) -> None:
        reading.check_size(self.size)

    @property
    def splits(self) -> tuple[str, ...]:
        """The published parts that are meant."""
        return SPLITS[:3] if self.split == "used" else (self.split,)


def samples(root: Path, options: Gaze360Options) -> Iterator[Sample]:
    """The frames in the order of metadata.mat or of the lists."""
    for where, name, direction, box in _frames(root, options):
        head = reading.picture(reading.inside(root / "imgs", name, where), where)
        x, y, width, height = box * np.tile(head.size, 2)
        window = (x + width / 2, y + height / 2, width, height)
        if options.crop == "face":
            window = (*window[:2], max(width, height), max(width, height))
        pixels = reading.window(head, window, (options.size, options.size), where)
        gaze = reading.gaze_of(direction * TO_CAMERA, where)
        recording, _, person, _ = Path(name).parts
        yield Sample(pixels, *gaze, f"{recording}/{person}", where, group=recording)


def count(root: Path, options: Gaze360Options) -> int:
    """The frames that are asked for, whose images must be there."""
    listed = [reading.inside(root / "imgs", name, where) for where, name, *_ in _frames(root, options)]
    reading.check_files(root, listed)
    return len(listed)


def _frames(root: Path, options: Gaze360Options) -> Iterator[Frame]:
    if (path := reading.folder(root, LAYOUT) / "metadata.mat").is_file():
        yield from _of_metadata(path, options)
    elif options.crop == "face":
        raise FormatError(f"{path}: no such file; only it knows where the faces are.")
    else:
        lists = [root / LISTS[split] for split in options.splits if split in LISTS]
        for path in reading.found((path for path in lists if path.is_file()), root, LAYOUT):
            for where, words in reading.lines(path, path.name):
                if len(words) != 4 or len(Path(words[0]).parts) != 4:
                    raise FormatError(f'{where}: expected "rec_000/head/000000/000131.jpg x y z".')
                yield where, words[0], reading.numbers(words[1:], where), WHOLE


def _of_metadata(path: Path, options: Gaze360Options) -> Iterator[Frame]:
    content = matlab.load(path, *VARIABLES, *(BOXES if options.crop == "face" else ()))
    names = [content["recordings"]] if isinstance(content["recordings"], str) else list(content["recordings"])
    columns = {key: reading.array_of(np.ravel(content[key]), (), f"{path.name}, {key}") for key in VARIABLES[1:5]}
    gaze = reading.array_of(content["gaze_dir"], (3,), f"{path.name}, gaze_dir")
    boxes = [reading.array_of(content[key], (4,), f"{path.name}, {key}") for key in BOXES if key in content]
    if len({len(column) for column in (*columns.values(), gaze, *boxes)}) != 1:
        raise FormatError(f"{path}: the columns differ in length; fetch the file again.")
    wanted = [SPLITS.index(split) for split in options.splits]
    for row, (recording, person, frame, split) in enumerate(zip(*columns.values(), strict=True)):
        where = f"{path.name}, row {row}"
        if split not in wanted or (boxes and (boxes[1][row] == -1).all()):
            continue
        if not (0 <= recording < len(names) and person >= 0 and frame >= 0):
            raise FormatError(f"{where}: recording {recording:g}, person {person:g}, frame {frame:g}: no such image.")
        name = f"{names[int(recording)]}/head/{int(person):06d}/{int(frame):06d}.jpg"
        yield where, name, gaze[row], _within(*(box[row] for box in boxes)) if boxes else WHOLE


def _within(head: reading.Floats, face: reading.Floats) -> reading.Floats:
    """The face's box as shares of the head's; both are (x, y, width, height) as shares of the frame."""
    return np.concatenate([face[:2] - head[:2], face[2:]]) / np.tile(head[2:], 2)


FORMAT = Format(
    kind="gaze360",
    title="Gaze360, heads or faces",
    citation=(
        "P. Kellnhofer, A. Recasens, S. Stent, W. Matusik, A. Torralba: Gaze360: physically unconstrained gaze "
        "estimation in the wild. ICCV 2019."
    ),
    licence="research licence of Gaze360: not transferable, within one institution, never copied or distributed",
    layout=LAYOUT,
    samples=samples,
    count=count,
    options=Gaze360Options,
)
